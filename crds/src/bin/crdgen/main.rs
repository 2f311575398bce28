//! Prints the custom resource definitions.

fn main() {
    for definition in crds::definitions() {
        println!("{}", serde_json::to_string_pretty(&definition).expect("a definition is plain data"));
    }
}
