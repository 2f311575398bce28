//! An S3 server on the host that every pod can reach. Owns the server's start and end, and the keys of each run.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::network::HOST;
use crate::process::{self, Start};
use crate::programs::Program;
use crate::wait::{PATIENCE, so, until};

const PORT: u16 = 7070;
const NAME: &str = "s3";

/// Address and keys of the S3 server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ObjectStore {
    /// URL of the server. Pods and the host use the same URL.
    pub endpoint: String,
    /// Name of a bucket, which exists and is initially empty.
    pub bucket: String,
    /// Region for signatures.
    pub region: String,
    /// Access key of the root account.
    pub access_key: String,
    /// Secret key of the root account.
    pub secret_key: String,
}

impl ObjectStore {
    /// Generates the keys of a new run.
    pub(crate) fn new() -> Result<ObjectStore> {
        Ok(ObjectStore {
            endpoint: format!("http://{HOST}:{PORT}"),
            bucket: "raft-backups".into(),
            region: "us-east-1".into(),
            access_key: random_hex(10)?,
            secret_key: random_hex(20)?,
        })
    }

    /// Reads the address and the keys of a run that is up.
    pub(crate) fn read(run: &Path) -> Result<ObjectStore> {
        let bytes = fs::read(run.join("s3.json")).context("the S3 server's keys cannot be read")?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// The folder on the host that holds the bucket. Each object is a file in it, which tests may damage.
    #[must_use]
    pub(crate) fn bucket_folder(&self, run: &Path) -> PathBuf {
        run.join("s3").join(&self.bucket)
    }

    /// Starts the server and waits until it responds.
    pub(crate) fn start(&self, run: &Path, cgroup: &[PathBuf]) -> Result<()> {
        fs::create_dir_all(self.bucket_folder(run))?;
        fs::create_dir_all(run.join("s3-versions"))?;
        let mut file =
            fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(run.join("s3.json"))?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        let mut line: Vec<OsString> = vec![run.join("bin").join(Program::Versitygw.name()).into()];
        line.extend(["--port", &format!("{HOST}:{PORT}"), "--region", &self.region].map(OsString::from));
        line.extend(["--health", "/health", "--quiet", "posix", "--versioning-dir"].map(OsString::from));
        line.extend([run.join("s3-versions").into(), run.join("s3").into()]);
        let env =
            vec![("ROOT_ACCESS_KEY_ID", self.access_key.clone()), ("ROOT_SECRET_ACCESS_KEY", self.secret_key.clone())];
        Start { name: NAME.into(), run, cgroup, line, env }.spawn()?;
        until("the S3 server responds", PATIENCE, || so(healthy()?))
    }

    /// Ends the server, as an outage does. The objects stay.
    pub(crate) fn stop(run: &Path) -> Result<()> {
        let Some(server) = process::recorded(run, NAME).filter(|server| server.alive()) else { return Ok(()) };
        process::terminate(server.pid)?;
        until("the S3 server has ended", PATIENCE, || so(!server.alive()))
    }
}

fn healthy() -> Result<bool> {
    let mut stream = TcpStream::connect((HOST, PORT))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(format!("GET /health HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    Ok(&status == b"HTTP/1.1 200")
}

fn random_hex(bytes: usize) -> Result<String> {
    let mut random = vec![0; bytes];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
