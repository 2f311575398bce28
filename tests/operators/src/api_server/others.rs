//! Writes of controllers, users and faults, which name no field manager of their own. Owns their typed form. Does not own
//! how a write is carried out (`api_server.rs`).

use crds::RaftCluster;
use k8s_openapi::jiff::Timestamp;
use plan::observed::Seen;
use serde_json::{Value, json};

use super::fields::Part;
use super::{ApiServer, Expected, Kind, OTHERS, Refused, Stored, Writer};

impl ApiServer {
    /// Stores the whole RaftCluster, as a user or a writer of its status does.
    pub fn put_cluster(&mut self, cluster: &RaftCluster) {
        let object = json!(cluster);
        let name = cluster.metadata.name.clone().unwrap_or_default();
        if self.objects.cluster.is_none() {
            self.post(Kind::RaftCluster, object, OTHERS).expect("it does not exist");
            return;
        }
        let writer = Writer { manager: OTHERS, part: Part::Status };
        let _ = self.replace(Kind::RaftCluster, &name, writer, without_version(&object));
        let writer = Writer { manager: OTHERS, part: Part::Main };
        let _ = self.replace(Kind::RaftCluster, &name, writer, without_version(&object));
    }

    /// Creates an object with a new UID.
    ///
    /// # Errors
    /// Returns a refusal if the object exists already.
    pub fn create<K: Stored>(&mut self, object: &K) -> Result<K, Refused> {
        let record = self.post(K::KIND, json!(object), OTHERS)?;
        Ok(serde_json::from_value(record.object.clone()).expect("an object of its kind"))
    }

    /// Applies a merge patch to an observed object. The UID must match. With [`Compare::Version`], the resource
    /// version must match, too.
    ///
    /// # Errors
    /// Returns a refusal if the object does not exist or a precondition of `compare` does not hold.
    pub fn patch<K: Stored>(&mut self, seen: &Seen, compare: Compare, patch: &Value) -> Result<(), Refused> {
        self.check(K::KIND, seen, compare)?;
        let part = if patch.get("status").is_some() { Part::Status } else { Part::Main };
        self.merge(K::KIND, &seen.name, Writer { manager: OTHERS, part }, patch).map(|_| ())
    }

    /// Deletes an observed object. [`Deletion::Marked`] only marks the object, because a finalizer or a running
    /// process holds it.
    ///
    /// # Errors
    /// Returns a refusal if the object does not exist or a precondition of `compare` does not hold.
    pub fn delete<K: Stored>(
        &mut self,
        seen: &Seen,
        compare: Compare,
        how: Deletion,
        now: Timestamp,
    ) -> Result<(), Refused> {
        self.check(K::KIND, seen, compare)?;
        self.end(K::KIND, &seen.name, &Expected::default(), how, now)
    }

    fn check(&self, kind: Kind, seen: &Seen, compare: Compare) -> Result<(), Refused> {
        let version = (compare == Compare::Version).then(|| seen.version.clone());
        Expected { uid: Some(seen.uid.clone()), version }.check(&self.live(kind, &seen.name)?.object)
    }
}

/// Preconditions of a write. The UID is a precondition of every write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Only the UID is a precondition.
    Uid,
    /// The UID and the resource version are preconditions.
    Version,
}

/// Way in which an object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The object is removed immediately, because no finalizer holds it.
    AtOnce,
    /// The object only gets a deletion timestamp, because a finalizer or a running process holds it.
    Marked,
}

fn without_version(object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"]["resourceVersion"].take();
    object
}
