//! Compares this project's copy of etcd's API with the descriptors that etcd publishes as Go modules. A Go program
//! (`tests/dev_cluster/go/etcd-descriptors`) prints etcd's descriptors. Owns the printing of this project's descriptors
//! in the same format. Does not own the Go program.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use dev_cluster::{Program, Run, programs};
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};

/// The comparison covers names, numbers, types, labels, JSON names, reservations, deprecations, services and streaming
/// in every package.
#[test]
fn our_descriptors_equal_those_that_etcd_publishes() -> Result<()> {
    let built = programs::build(&[Program::EtcdDescriptors], &|line| println!("{line}"))?;
    let printed = Command::new(built.path(Program::EtcdDescriptors)).text()?;
    let theirs: BTreeSet<&str> = printed.lines().collect();
    ensure!(theirs.len() > 400, "the program printed {} lines, which is not the whole API", theirs.len());

    let set =
        FileDescriptorSet::decode(proto::ETCD_DESCRIPTORS).context("the descriptors of node/proto do not decode")?;
    let mut ours = Lines::default();
    for file in &set.file {
        ours.file(file)?;
    }
    let ours: BTreeSet<&str> = ours.0.iter().map(String::as_str).collect();

    let missing: Vec<&str> = theirs.difference(&ours).copied().collect();
    let added: Vec<&str> = ours.difference(&theirs).copied().collect();
    ensure!(
        missing.is_empty() && added.is_empty(),
        "node/proto/etcd differs from etcd's API.\nOnly in etcd's:\n{}\nOnly in ours:\n{}",
        missing.join("\n"),
        added.join("\n")
    );
    println!("{} lines are equal", ours.len());
    Ok(())
}

/// The declarations in this project's descriptors, one line for each, in the format that the Go program prints.
#[derive(Default)]
struct Lines(BTreeSet<String>);

impl Lines {
    fn add(&mut self, name: &str, kind: &str, words: &[&dyn Display], deprecated: Option<bool>) {
        let mut line = format!("{name}: {kind}");
        for word in words.iter().map(ToString::to_string).filter(|word| !word.is_empty()) {
            line = format!("{line} {word}");
        }
        if deprecated == Some(true) {
            line.push_str(" deprecated");
        }
        self.0.insert(line);
    }

    fn file(&mut self, file: &FileDescriptorProto) -> Result<()> {
        let package = file.package();
        self.add(package, "package", &[&file.syntax()], file.options.as_ref().and_then(|options| options.deprecated));
        for service in &file.service {
            let name = format!("{package}.{}", service.name());
            self.add(&name, "service", &[], service.options.as_ref().and_then(|options| options.deprecated));
            for method in &service.method {
                let deprecated = method.options.as_ref().and_then(|options| options.deprecated);
                let (takes, returns) = (stream(method.client_streaming()), stream(method.server_streaming()));
                let (input, output) = (absolute(method.input_type()), absolute(method.output_type()));
                let words: [&dyn Display; 6] = [&"takes", &takes, &input, &"returns", &returns, &output];
                self.add(&format!("{name}.{}", method.name()), "method", &words, deprecated);
            }
        }
        for message in &file.message_type {
            self.message(package, message)?;
        }
        for declared in &file.enum_type {
            self.enumeration(package, declared);
        }
        for extension in &file.extension {
            self.add(&format!("{package}.{}", extension.name()), "extension", &[], None);
        }
        Ok(())
    }

    fn message(&mut self, scope: &str, message: &DescriptorProto) -> Result<()> {
        let name = format!("{scope}.{}", message.name());
        self.add(&name, "message", &[], message.options.as_ref().and_then(|options| options.deprecated));
        for range in &message.reserved_range {
            self.add(&name, "reserves", &[&range.start(), &"to", &range.end()], None);
        }
        for reserved in &message.reserved_name {
            self.add(&name, "reserves", &[reserved], None);
        }
        for field in &message.field {
            self.field(&name, message, field)?;
        }
        for nested in &message.nested_type {
            self.message(&name, nested)?;
        }
        for declared in &message.enum_type {
            self.enumeration(&name, declared);
        }
        Ok(())
    }

    fn field(&mut self, scope: &str, message: &DescriptorProto, field: &FieldDescriptorProto) -> Result<()> {
        let name = format!("{scope}.{}", field.name());
        let label = field.label().as_str_name().trim_start_matches("LABEL_").to_lowercase();
        let kind = field.r#type().as_str_name().trim_start_matches("TYPE_").to_lowercase();
        let explicit = if field.proto3_optional() { "explicit" } else { "" };
        let packed = if is_packed(field) { "packed" } else { "" };
        let oneof = match field.oneof_index {
            Some(index) if !field.proto3_optional() => {
                let declared = message.oneof_decl.get(usize::try_from(index)?);
                format!(
                    "oneof {}",
                    declared.with_context(|| format!("{name} names a oneof that does not exist"))?.name()
                )
            }
            _ => String::new(),
        };
        let typed = absolute(field.type_name());
        ensure!(field.json_name.is_some(), "{name} has no JSON name: the compiler did not fill it in");
        let words: [&dyn Display; 9] =
            [&field.number(), &label, &kind, &typed, &"json", &field.json_name(), &explicit, &packed, &oneof];
        self.add(&name, "field", &words, field.options.as_ref().and_then(|options| options.deprecated));
        Ok(())
    }

    /// Adds an enum and its values. The name of a value is in the scope that contains the enum, as in C++.
    fn enumeration(&mut self, scope: &str, declared: &EnumDescriptorProto) {
        let name = format!("{scope}.{}", declared.name());
        self.add(&name, "enum", &[], declared.options.as_ref().and_then(|options| options.deprecated));
        for range in &declared.reserved_range {
            self.add(&name, "reserves", &[&range.start(), &"to", &range.end()], None);
        }
        for reserved in &declared.reserved_name {
            self.add(&name, "reserves", &[reserved], None);
        }
        for value in &declared.value {
            let deprecated = value.options.as_ref().and_then(|options| options.deprecated);
            self.add(&format!("{scope}.{}", value.name()), "value", &[&value.number(), &"of", &name], deprecated);
        }
    }
}

fn stream(streaming: bool) -> &'static str {
    if streaming { "stream" } else { "" }
}

/// Removes the leading dot, which marks an absolute name in a descriptor.
fn absolute(name: &str) -> &str {
    name.trim_start_matches('.')
}

/// Returns whether a field is packed. In proto3, repeated numbers are packed unless an option says otherwise.
fn is_packed(field: &FieldDescriptorProto) -> bool {
    let number = !matches!(field.r#type(), Type::String | Type::Bytes | Type::Message | Type::Group);
    let option = field.options.as_ref().and_then(|options| options.packed);
    field.label() == Label::Repeated && number && option.unwrap_or(true)
}
