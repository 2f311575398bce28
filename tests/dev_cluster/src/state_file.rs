//! The machine-wide state file of the dev cluster, which holds the run directory and whether the cluster is up. Owns
//! that file and the lock that is held while a cluster is brought up or taken down. If there is a state file but its
//! cluster is not alive, a run has crashed and left files or processes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::process::{Identity, recorded};

const FOLDER: &str = "/run/raft-operator-dev-cluster";

/// Contents of the state file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StateFile {
    /// The run directory.
    pub(crate) run: PathBuf,
    /// Number of nodes.
    pub(crate) nodes: u8,
    /// Phase that the cluster reached.
    pub(crate) phase: Phase,
    /// Process that owns the cluster, if there is one. After the end of this process, the cluster counts as abandoned.
    pub(crate) owner: Option<Identity>,
}

/// Phase of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// The cluster is being brought up or taken down.
    Unfinished,
    /// The cluster is up.
    Up,
}

/// Lock that is held while a cluster is brought up or taken down. The kernel releases it when the process ends.
pub(crate) struct Exclusive {
    _file: fs::File,
}

impl Exclusive {
    pub(crate) fn take() -> Result<Exclusive> {
        fs::create_dir_all(FOLDER).with_context(|| format!("{FOLDER} cannot be created"))?;
        let file = fs::File::create(Path::new(FOLDER).join("lock"))?;
        if file.try_lock().is_err() {
            bail!("another process is bringing a dev cluster up or taking one down: try again when it has finished");
        }
        Ok(Exclusive { _file: file })
    }
}

impl StateFile {
    /// Reads the state file; `None` if there is none.
    pub(crate) fn read() -> Result<Option<StateFile>> {
        match fs::read(StateFile::path()) {
            Ok(bytes) => Ok(Some(
                serde_json::from_slice(&bytes).context("the state file of the dev cluster has an unknown format")?,
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("the state file of the dev cluster cannot be read"),
        }
    }

    /// Replaces the state file.
    pub(crate) fn write(&self) -> Result<()> {
        let partial = Path::new(FOLDER).join(".record.partial");
        fs::write(&partial, serde_json::to_vec_pretty(self)?)?;
        fs::rename(partial, StateFile::path()).context("the state file of the dev cluster was not written")
    }

    /// Removes the state file.
    pub(crate) fn remove() -> Result<()> {
        match fs::remove_file(StateFile::path()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Returns whether the cluster is alive: it is up, its API server runs, and its owner, if any, still runs.
    pub(crate) fn live(&self) -> bool {
        self.phase == Phase::Up
            && recorded(&self.run, "apiserver").is_some_and(Identity::alive)
            && self.owner.is_none_or(Identity::alive)
    }

    fn path() -> PathBuf {
        Path::new(FOLDER).join("record.json")
    }
}
