//! Watches RaftClusters and makes the cluster match them.
