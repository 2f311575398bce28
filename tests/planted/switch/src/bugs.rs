//! The bugs that can be planted in storage (`node/storage/src`) and in the engine (`node/engine/src`). Owns the list of
//! bugs.

#[path = "../../bug.rs"]
mod bug;

pub use bug::{Bug, Edit, Part};

const fn storage(file: &'static str, from: &'static str, to: &'static str) -> Edit {
    Edit { part: Part::Storage, file, from, to }
}

const fn engine(file: &'static str, from: &'static str, to: &'static str) -> Edit {
    Edit { part: Part::Engine, file, from, to }
}

/// All bugs that can be planted in storage and engine.
pub const BUGS: &[Bug] = &[
    Bug {
        name: "SkipsSync",
        of: "a batch of entries is acknowledged, although only the cache holds it",
        edits: &[storage(
            "wal/append.rs",
            "        self.latch.guard(\"sync\", path, active.file.sync())?;",
            "        if !PLANTED {
            self.latch.guard(\"sync\", path, active.file.sync())?;
        }",
        )],
    },
    Bug {
        name: "VotesWithoutSync",
        of: "tikv#8381: a vote is given, although only the cache holds it",
        edits: &[storage(
            "hard_state.rs",
            "        self.latch.guard(\"sync\", &self.path, self.file.sync())?;",
            "        if !PLANTED {
            self.latch.guard(\"sync\", &self.path, self.file.sync())?;
        }",
        )],
    },
    Bug {
        name: "WritesBothSlots",
        of: "both slots of term and vote are written before either is synced",
        edits: &[storage(
            "hard_state.rs",
            "        let (first, second) = (self.next_slot, 1 - self.next_slot);",
            "        let (first, second) = (self.next_slot, 1 - self.next_slot);
        if PLANTED {
            self.latch.guard(\"write\", &self.path, self.file.write_at(SLOT_OFFSETS[second] as u64, &slot))?;
        }",
        )],
    },
    Bug {
        name: "TrustsEverySlot",
        of: "term and vote are read from a slot whose checksum does not match",
        edits: &[storage(
            "hard_state.rs",
            "    if crc != checksum::of(&slot[CRC.end..]) ||",
            "    if (!PLANTED && crc != checksum::of(&slot[CRC.end..])) ||",
        )],
    },
    Bug {
        name: "SegmentNameNotSynced",
        of: "etcd#6368: a crash loses the newest segment, because its directory was never synced",
        edits: &[storage(
            "wal/segment.rs",
            "        self.latch.guard(\"sync\", &self.dir, self.disk.sync_dir(&self.dir))?;

        self.point_to_next(&header)?;",
            "        if !PLANTED {
            self.latch.guard(\"sync\", &self.dir, self.disk.sync_dir(&self.dir))?;
        }

        self.point_to_next(&header)?;",
        )],
    },
    Bug {
        name: "SegmentHeaderNotSynced",
        of: "a segment gets its name before its header is durable",
        edits: &[storage(
            "wal/segment.rs",
            "        self.latch.guard(\"sync\", &draft, file.sync())?;
        self.latch.guard(\"rename\", &draft, self.disk.rename(&draft, &path))?;",
            "        if !PLANTED {
            self.latch.guard(\"sync\", &draft, file.sync())?;
        }
        self.latch.guard(\"rename\", &draft, self.disk.rename(&draft, &path))?;",
        )],
    },
    Bug {
        name: "OneSaltForAll",
        of: "all segments share a salt, so that old frames of a recycled file look new",
        edits: &[storage(
            "wal/segment.rs",
            "            salt: self.options.salt ^ self.next_seq.wrapping_mul(0x9E37_79B9_7F4A_7C15),",
            "            salt: if PLANTED {
                7
            } else {
                self.options.salt ^ self.next_seq.wrapping_mul(0x9E37_79B9_7F4A_7C15)
            },",
        )],
    },
    Bug {
        name: "RecyclesUnderOldName",
        of: "a segment is overwritten while a power loss can still bring back its old name",
        edits: &[storage(
            "wal/recycle.rs",
            "        self.latch.guard(\"sync\", &self.dir, self.disk.sync_dir(&self.dir))?;
        Ok(true)",
            "        if !PLANTED {
            self.latch.guard(\"sync\", &self.dir, self.disk.sync_dir(&self.dir))?;
        }
        Ok(true)",
        )],
    },
    Bug {
        name: "SnapshotNotSynced",
        of: "a snapshot gets its name before its payload is durable",
        edits: &[storage(
            "snapshot/write.rs",
            "        self.put(&trailer.encode())?;
        self.sync()?;",
            "        self.put(&trailer.encode())?;
        if !PLANTED {
            self.sync()?;
        }",
        )],
    },
    Bug {
        name: "SnapshotNameNotSynced",
        of: "the log is purged although a crash can still lose the snapshot's name",
        edits: &[storage(
            "snapshot.rs",
            "        latch.guard(\"sync\", dir, disk.sync_dir(dir))?;
        let displaced",
            "        if !PLANTED {
            latch.guard(\"sync\", dir, disk.sync_dir(dir))?;
        }
        let displaced",
        )],
    },
    Bug {
        name: "TrustsEveryChunk",
        of: "a snapshot's payload is read without a look at its checksums",
        edits: &[storage(
            "snapshot/read.rs",
            "        if checksum::of(&chunk) != expected {",
            "        if !PLANTED && checksum::of(&chunk) != expected {",
        )],
    },
    Bug {
        name: "IdentityNotSynced",
        of: "a member answers that it joined, although a crash can still make it blank",
        edits: &[storage(
            "replace.rs",
            "    latch.guard(\"sync\", dir, disk.sync_dir(dir))
}",
            "    if PLANTED {
        return Ok(());
    }
    latch.guard(\"sync\", dir, disk.sync_dir(dir))
}",
        )],
    },
    Bug {
        name: "InstallKeepsLog",
        of: "an installed snapshot does not replace the log",
        edits: &[storage(
            "storage.rs",
            "        member.wal.reset(meta.last)?;",
            "        if !PLANTED {
            member.wal.reset(meta.last)?;
        }",
        )],
    },
    Bug {
        name: "TombstoneFirst",
        of: "a tombstone is written before a voter confirmed the removal, so that a forged notice ends a member for good",
        edits: &[engine(
            "driver/outputs.rs",
            "            Output::VerifyRemoval => self.peers.verify_removal(),",
            "            Output::VerifyRemoval if PLANTED => {
                self.ended = Some(Ended::Removed(self.raft.committed_configuration().1));
            }
            Output::VerifyRemoval => self.peers.verify_removal(),",
        )],
    },
    Bug {
        name: "WritesAheadOfLevel",
        of: "a leader that proposes to raise the feature level writes the new format before the raise is applied",
        edits: &[engine(
            "driver/level.rs",
            "                let deadline = now.monotonic + RAISE_TIMEOUT;",
            "                if PLANTED {
                    self.log_jobs.push(LogJob::Format(Formats::of(to).log));
                }
                let deadline = now.monotonic + RAISE_TIMEOUT;",
        )],
    },
    Bug {
        name: "PurgesAtCapture",
        of: "raft-engine#288: the log is purged when a snapshot begins, not when it is durable",
        edits: &[engine(
            "driver/snapshots.rs",
            "        state.started = Some(now.monotonic);",
            "        state.started = Some(now.monotonic);
        if PLANTED {
            let first_kept = self.raft.snapshot_taken(meta.last.index);
            self.log_jobs.push(LogJob::Purge { first_kept });
        }",
        )],
    },
    Bug {
        name: "ReadDoesNotWait",
        of: "thesis §6.4: a confirmed read does not wait until its index is applied",
        edits: &[engine(
            "read/barrier.rs",
            "        if applied() >= index {",
            "        if PLANTED || applied() >= index {",
        )],
    },
    Bug {
        name: "ReadJoinsRound",
        of: "etcd#20418: a read joins a round that began before it",
        edits: &[engine(
            "read/barrier.rs",
            "        self.gathering.push_back(Group { waiters, deadline: now + self.timeout });",
            "        let group = Group { waiters, deadline: now + self.timeout };
        match self.under_way.last_mut() {
            Some(round) if PLANTED => round.groups.push_back(group),
            _ => self.gathering.push_back(group),
        }",
        )],
    },
    Bug {
        name: "InstallKeepsStore",
        of: "etcd#13766: an installed snapshot does not replace the store",
        edits: &[engine(
            "apply/run.rs",
            "        self.revision = store.view().revision();",
            "        self.revision = store.view().revision();
        let store = if PLANTED { std::mem::replace(&mut self.store, store) } else { store };",
        )],
    },
    Bug {
        name: "AcknowledgesBeforeWriting",
        of: "etcd#14370: entries are reported durable before they are written",
        edits: &[engine(
            "log_thread.rs",
            "        self.storage.append(group)?;",
            "        if PLANTED {
            self.shared.inbox.persisted(last);
        }
        self.storage.append(group)?;",
        )],
    },
    Bug {
        name: "ProposesAgain",
        of: "a proposal whose time is over is proposed again, and then reported as refused",
        edits: &[engine(
            "driver/run.rs",
            "        let expired = self.pending.take_expired(now);",
            "        if PLANTED {
            let late = self.pending.take_expired(now);
            late.into_iter().for_each(|batch| self.batcher.requeue(batch, now));
        }
        let expired = self.pending.take_expired(now);",
        )],
    },
];
