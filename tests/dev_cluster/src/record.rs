//! What is known machine-wide about the one dev cluster: a lock while it is being made or taken down, and a record of
//! where it runs and whether it is finished. A record without a living cluster means leftovers of a crash.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::process::{Identity, recorded};

const FOLDER: &str = "/run/raft-operator-dev-cluster";

/// The machine-wide record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The run directory.
    pub(crate) run: PathBuf,
    /// How many nodes.
    pub(crate) nodes: u8,
    /// How far it got.
    pub(crate) phase: Phase,
    /// A cluster that is to end with this process is a leftover once it is gone.
    pub(crate) owner: Option<Identity>,
}

/// How far a cluster got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Being brought up or taken down.
    Unfinished,
    /// Up.
    Up,
}

/// Held while a cluster is brought up or taken down; the kernel lets go of it when its process ends, however.
pub(crate) struct Exclusive {
    _file: fs::File,
}

impl Exclusive {
    pub(crate) fn take() -> Result<Exclusive> {
        fs::create_dir_all(FOLDER).with_context(|| format!("{FOLDER} cannot be made"))?;
        let file = fs::File::create(Path::new(FOLDER).join("lock"))?;
        if file.try_lock().is_err() {
            bail!("another process is bringing a dev cluster up or taking one down: try again when it is done");
        }
        Ok(Exclusive { _file: file })
    }
}

impl Record {
    /// The record, if there is one.
    pub(crate) fn read() -> Result<Option<Record>> {
        match fs::read(Record::path()) {
            Ok(bytes) => {
                Ok(Some(serde_json::from_slice(&bytes).context("the dev cluster's record is not understood")?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("the dev cluster's record cannot be read"),
        }
    }

    /// Replaces the record.
    pub(crate) fn write(&self) -> Result<()> {
        let partial = Path::new(FOLDER).join(".record.partial");
        fs::write(&partial, serde_json::to_vec_pretty(self)?)?;
        fs::rename(partial, Record::path()).context("the dev cluster's record was not written")
    }

    /// Forgets the record.
    pub(crate) fn remove() -> Result<()> {
        match fs::remove_file(Record::path()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Whether a usable cluster stands behind the record.
    pub(crate) fn live(&self) -> bool {
        self.phase == Phase::Up
            && recorded(&self.run, "apiserver").is_some_and(Identity::alive)
            && self.owner.is_none_or(Identity::alive)
    }

    fn path() -> PathBuf {
        Path::new(FOLDER).join("record.json")
    }
}
