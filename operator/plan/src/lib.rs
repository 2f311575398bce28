//! Every decision of the operator: observed world in, next safe actions out.
