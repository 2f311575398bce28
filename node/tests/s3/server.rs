//! Owns a real S3 server for one test: one bucket, on loopback, removed after the test. Does not own assertions.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use dev_cluster::{PATIENCE, Program, own_address, programs, until};

/// Name of the server's only bucket.
pub(crate) const BUCKET: &str = "backups";
const PORT: u16 = 7070;

/// An S3 server with one bucket. Dropping it ends the process and removes its directory.
pub(crate) struct Server {
    pub(crate) folder: PathBuf,
    pub(crate) address: SocketAddr,
    process: Option<Child>,
}

impl Server {
    pub(crate) fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("archive-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("s3").join(BUCKET)).expect("a folder for the bucket");
        fs::create_dir_all(folder.join("credentials")).expect("a folder for the credentials");
        let mut server = Self { folder, address: (own_address(), PORT).into(), process: None };
        server.give_credentials("root-key", "root-secret");
        server.run();
        server
    }

    pub(crate) fn run(&mut self) {
        let built = programs::build(&[Program::Versitygw], &|line| println!("{line}"))
            .expect("versitygw is built from its Go module, or found where `cargo xtask cluster up` left it");
        let process = Command::new(built.path(Program::Versitygw))
            .args(["--port", &self.address.to_string(), "--region", "us-east-1", "--quiet", "posix"])
            .arg(self.folder.join("s3"))
            .env("ROOT_ACCESS_KEY_ID", "root-key")
            .env("ROOT_SECRET_ACCESS_KEY", "root-secret")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the S3 server starts");
        self.process = Some(process);
        until("the S3 server answers", PATIENCE, || Ok(TcpStream::connect(self.address).ok()))
            .expect("the S3 server answers");
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().and_then(|()| process.wait()).expect("our own child can be ended");
        }
    }

    pub(crate) fn give_credentials(&self, id: &str, secret: &str) {
        fs::write(self.folder.join("credentials/access-key-id"), id).expect("a file");
        // The file ends with a newline, because editors add one.
        fs::write(self.folder.join("credentials/secret-access-key"), format!("{secret}\n")).expect("a file");
    }

    /// URL of the server.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Directory with the credentials, in the form that members read.
    pub(crate) fn credentials(&self) -> PathBuf {
        self.folder.join("credentials")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
