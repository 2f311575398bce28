//! Tests that the rules and the types accept every example in `crds/examples`.

use serde_json::Value;
use std::{fs, path::Path};

use crate::admission::admit;

#[test]
fn every_example_is_admitted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut seen = 0;
    for entry in fs::read_dir(folder).expect("the crate has examples") {
        let path = entry.expect("a readable folder").path();
        let text = fs::read_to_string(&path).expect("a readable example");
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("examples are YAML");
        for document in documents.iter().filter(|document| document["apiVersion"] == "raftoperator.io/v1alpha1") {
            if let Err(errors) = admit(document, None) {
                panic!("{}: {errors:#?}", path.display());
            }
            match document["kind"].as_str() {
                Some("RaftCluster") => drop(serde_json::from_value::<crds::RaftCluster>(document.clone()).unwrap()),
                Some("RaftBackup") => drop(serde_json::from_value::<crds::RaftBackup>(document.clone()).unwrap()),
                kind => panic!("{}: unknown kind {kind:?}", path.display()),
            }
            seen += 1;
        }
    }
    assert!(seen >= 4, "examples went missing: only {seen} seen");
}
