//! Creates container images with one layer, in the archive format that `docker load`, `ctr images import` and
//! `kind load image-archive` read. Needs no daemon. The same input always gives the same bytes. Owns the format. Does
//! not own the choice of files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};

/// UID and GID under which the programs in images run. They equal those of the user `nonroot` in distroless images.
pub const NON_ROOT: u32 = 65532;

/// Path at which programs look for the certificates of trusted authorities.
pub const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Contents of an image.
#[derive(Clone, Debug)]
pub struct Image {
    /// Name and tag, for example `localhost/raft-node:dev`.
    pub name: String,
    /// Absolute path of the program to start.
    pub entrypoint: String,
    /// Files by their absolute path in the image.
    pub files: BTreeMap<String, File>,
    /// OCI annotations, stored as labels of the image.
    pub labels: BTreeMap<String, String>,
}

/// One file of an image.
#[derive(Clone, Debug)]
pub struct File {
    /// Bytes of the file.
    pub content: Vec<u8>,
    /// Permission bits, for example 0o755.
    pub mode: u32,
}

impl Image {
    /// Creates an image that runs one static program as an unprivileged user. The image contains a trust store if
    /// `trust` is given, and never a shell.
    ///
    /// # Errors
    /// Returns an error if the program cannot be read.
    pub fn of_program(name: &str, program: &Path, trust: Option<&[u8]>) -> Result<Image> {
        let content = fs::read(program).with_context(|| format!("{} cannot be read", program.display()))?;
        let file_name = program.file_name().context("a program's path ends in its name")?.to_string_lossy();
        let entrypoint = format!("/{file_name}");
        let mut files = BTreeMap::new();
        files.insert(entrypoint.clone(), File { content, mode: 0o755 });
        let passwd = format!("root:x:0:0:root:/:/none\nnonroot:x:{NON_ROOT}:{NON_ROOT}:nonroot:/:/none\n");
        files.insert("/etc/passwd".into(), File { content: passwd.into_bytes(), mode: 0o644 });
        let group = format!("root:x:0:\nnonroot:x:{NON_ROOT}:\n");
        files.insert("/etc/group".into(), File { content: group.into_bytes(), mode: 0o644 });
        if let Some(bundle) = trust {
            files.insert(CA_BUNDLE.into(), File { content: bundle.to_vec(), mode: 0o644 });
        }
        Ok(Image { name: name.into(), entrypoint, files, labels: BTreeMap::new() })
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Image {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Writes the complete archive to `path` and returns its size in bytes. After an error, `path` is unchanged.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<u64> {
        let archive = self.archive()?;
        let partial = PathBuf::from(format!("{}.partial", path.display()));
        let write = || -> std::io::Result<()> {
            fs::File::create(&partial)?.write_all(&archive)?;
            fs::rename(&partial, path)
        };
        write().with_context(|| format!("the image {} was not written to {}", self.name, path.display()))?;
        Ok(archive.len() as u64)
    }

    /// Returns the bytes of the archive.
    ///
    /// # Errors
    /// Returns an error if a path does not fit a tar header.
    pub fn archive(&self) -> Result<Vec<u8>> {
        let layer = self.layer()?;
        let config = serde_json::to_vec(&self.config(&digest(&layer)))?;
        let config_name = format!("{}.json", digest(&config));
        let layer_name = format!("{}/layer.tar", digest(&layer));
        let manifest = json!([{"Config": config_name, "RepoTags": [self.name], "Layers": [layer_name]}]);
        let mut archive = tar::Builder::new(Vec::new());
        append(&mut archive, &layer_name, &layer, 0o644)?;
        append(&mut archive, &config_name, &config, 0o644)?;
        append(&mut archive, "manifest.json", &serde_json::to_vec(&manifest)?, 0o644)?;
        Ok(archive.into_inner()?)
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut directories: BTreeMap<String, u32> = BTreeMap::from([("tmp".into(), 0o1777)]);
        for path in self.files.keys() {
            for parent in Path::new(path.trim_start_matches('/')).ancestors().skip(1) {
                if !parent.as_os_str().is_empty() {
                    directories.insert(parent.to_string_lossy().into_owned(), 0o755);
                }
            }
        }
        let mut layer = tar::Builder::new(Vec::new());
        // The path of a parent directory is a prefix of its children's paths. In sorted order, the parent therefore
        // comes before its children.
        for (path, mode) in &directories {
            let mut header = header(0, *mode);
            header.set_entry_type(tar::EntryType::Directory);
            layer.append_data(&mut header, format!("{path}/"), std::io::empty())?;
        }
        for (path, file) in &self.files {
            append(&mut layer, path.trim_start_matches('/'), &file.content, file.mode)?;
        }
        Ok(layer.into_inner()?)
    }

    fn config(&self, layer_digest: &str) -> serde_json::Value {
        json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "User": format!("{NON_ROOT}:{NON_ROOT}"),
                "Env": ["PATH=/", format!("SSL_CERT_FILE={CA_BUNDLE}")],
                "Entrypoint": [self.entrypoint],
                "WorkingDir": "/",
                "Labels": self.labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask image"}],
        })
    }
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32) -> Result<()> {
    let mut header = header(content.len() as u64, mode);
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, path, content).with_context(|| format!("{path} does not fit the archive"))
}

/// Creates a header with owner root and time 0, so that the image does not depend on the machine that builds it.
fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Name of this machine's architecture in container images.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use serde_json::Value;

    use super::*;

    fn image() -> Image {
        let files = BTreeMap::from([
            ("/app".to_string(), File { content: b"static program".to_vec(), mode: 0o755 }),
            ("/etc/ssl/certs/x.crt".to_string(), File { content: b"authority".to_vec(), mode: 0o644 }),
        ]);
        Image { name: "localhost/app:dev".into(), entrypoint: "/app".into(), files, labels: BTreeMap::new() }
            .label("org.opencontainers.image.title", "app")
    }

    /// Path, mode and bytes of every entry of a tar archive.
    fn members(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut archive = tar::Archive::new(bytes);
        let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            assert_eq!((entry.header().mtime().unwrap(), entry.header().uid().unwrap()), (0, 0), "{path}");
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (path, entry.header().mode().unwrap(), content)
        };
        archive.entries().unwrap().map(read).collect()
    }

    fn named(members: &[(String, u32, Vec<u8>)], name: &str) -> Vec<u8> {
        members.iter().find(|member| member.0 == name).unwrap_or_else(|| panic!("no {name}")).2.clone()
    }

    #[test]
    fn manifest_config_and_layer_agree_by_digest() {
        let outer = members(&image().archive().unwrap());
        let manifest: Value = serde_json::from_slice(&named(&outer, "manifest.json")).unwrap();
        assert_eq!(manifest[0]["RepoTags"], json!(["localhost/app:dev"]));
        let config_name = manifest[0]["Config"].as_str().unwrap();
        let config_bytes = named(&outer, config_name);
        assert_eq!(config_name, format!("{}.json", digest(&config_bytes)));
        let config: Value = serde_json::from_slice(&config_bytes).unwrap();
        let layer = named(&outer, manifest[0]["Layers"][0].as_str().unwrap());
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", digest(&layer)));
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"], json!(["/app"]));
        assert_eq!(config["config"]["Labels"]["org.opencontainers.image.title"], "app");
    }

    #[test]
    fn the_layer_holds_parents_before_children_and_a_temporary_directory() {
        let layer = members(&image().layer().unwrap());
        let paths: Vec<_> = layer.iter().map(|member| (member.0.as_str(), member.1)).collect();
        let expected = [
            ("etc/", 0o755),
            ("etc/ssl/", 0o755),
            ("etc/ssl/certs/", 0o755),
            ("tmp/", 0o1777),
            ("app", 0o755),
            ("etc/ssl/certs/x.crt", 0o644),
        ];
        assert_eq!(paths, expected);
        assert_eq!(named(&layer, "app"), b"static program");
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        assert_eq!(image().archive().unwrap(), image().archive().unwrap());
    }
}
