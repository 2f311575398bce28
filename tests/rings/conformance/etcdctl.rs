//! Runs the same commands of etcdctl against etcd and against a member, and compares the output.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use dev_cluster::{Program, programs};
use serde_json::Value;

use crate::subject::Subject;

/// Output and exit status of a command.
#[derive(Debug, PartialEq)]
struct Printed {
    success: bool,
    output: String,
    /// The line that begins with `Error:`. The other lines of the error output contain times and addresses, so they are
    /// not compared.
    error: String,
}

struct Etcdctl {
    program: std::path::PathBuf,
}

impl Etcdctl {
    fn new() -> Result<Etcdctl> {
        let built = programs::build(&[Program::Etcdctl], &|line| println!("{line}"))?;
        Ok(Etcdctl { program: built.path(Program::Etcdctl) })
    }

    fn run(&self, subject: &Subject, arguments: &str, input: &str) -> Result<Printed> {
        let mut command = Command::new(&self.program);
        // etcdctl's default timeouts of 2 and 5 s may be too short on a busy machine.
        command.args(["--dial-timeout=60s", "--command-timeout=60s"]);
        command.arg(format!("--endpoints={}", subject.endpoint())).args(arguments.split(' '));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("etcdctl did not start")?;
        child.stdin.take().context("its input is a pipe")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        let errors = String::from_utf8(output.stderr)?;
        let error = errors.lines().find(|line| line.starts_with("Error: ")).unwrap_or_default();
        Ok(Printed {
            success: output.status.success(),
            output: String::from_utf8(output.stdout)?.replace(&subject.endpoint(), "ENDPOINT"),
            error: error.to_owned(),
        })
    }

    fn json(&self, subject: &Subject, arguments: &str) -> Result<Value> {
        let printed = self.run(subject, &format!("{arguments} --write-out=json"), "")?;
        ensure!(printed.success, "{arguments}: {printed:?}");
        Ok(serde_json::from_str(&printed.output)?)
    }
}

/// Commands whose output can be compared, each with its standard input.
const COMMANDS: &[(&str, &str)] = &[
    ("put foo 1", ""),
    ("put foo 2 --prev-kv", ""),
    ("put foo/bar x", ""),
    ("get foo", ""),
    ("get foo --prefix", ""),
    ("get foo --prefix --keys-only", ""),
    ("get foo --prefix --count-only --write-out=fields", ""),
    ("get foo --prefix --limit=1", ""),
    ("get foo --prefix --sort-by=MODIFY --order=DESCEND", ""),
    ("get foo --rev=2", ""),
    ("get foo --rev=99", ""),
    ("get nothing", ""),
    ("get a --from-key --consistency=s", ""),
    ("get foo --print-value-only", ""),
    ("del foo --prev-kv", ""),
    ("del foo", ""),
    ("put foo --ignore-value", ""),
    ("put foo 3 --lease=1234abcd", ""),
    ("txn", "create(\"new\") = \"0\"\n\nput new 1\nget new\n\nget foo\n\n"),
    ("txn", "create(\"new\") = \"0\"\n\nput new 1\nget new\n\nget foo/bar\n\n"),
    ("txn", "value(\"foo/bar\") = \"x\"\nmod(\"foo/bar\") > \"1\"\n\ndel foo --prefix\n\nget foo/bar\n\n"),
    ("compaction 3 --physical", ""),
    ("compaction 3", ""),
    ("compaction 99", ""),
    ("get foo --rev=2", ""),
    ("alarm list", ""),
    ("alarm disarm", ""),
    ("endpoint hashkv", ""),
    ("endpoint hashkv --rev=4", ""),
    ("defrag", ""),
];

#[test]
fn equal_commands_print_equal_output() -> Result<()> {
    let (etcd, member, etcdctl) = (Subject::etcd()?, Subject::member()?, Etcdctl::new()?);
    for (arguments, input) in COMMANDS {
        let (theirs, ours) = (etcdctl.run(&etcd, arguments, input)?, etcdctl.run(&member, arguments, input)?);
        // Some parts of the output are not compared: the IDs and the term in the format `fields`, and the duration
        // that `defrag` prints.
        let keep = |printed: &Printed| -> Vec<String> {
            let identity = ["\"ClusterID\"", "\"MemberID\"", "\"RaftTerm\""];
            let lines = printed.output.lines().filter(|line| !identity.iter().any(|name| line.starts_with(name)));
            lines.map(|line| line.split(" took ").next().unwrap_or_default().to_owned()).collect()
        };
        ensure!(
            keep(&theirs) == keep(&ours) && theirs.success == ours.success && theirs.error == ours.error,
            "etcdctl {arguments}\netcd: {theirs:?}\nmember: {ours:?}"
        );
    }
    Ok(())
}

#[test]
fn members_and_endpoints_are_shown() -> Result<()> {
    let (etcd, member, etcdctl) = (Subject::etcd()?, Subject::member()?, Etcdctl::new()?);
    for subject in [&etcd, &member] {
        let health = etcdctl.run(subject, "endpoint health", "")?;
        ensure!(
            health.output.starts_with("ENDPOINT is healthy: successfully committed proposal: took = "),
            "{health:?}"
        );

        let list = etcdctl.json(subject, "member list")?;
        let members = list["members"].as_array().context("members are a list")?;
        ensure!(members.len() == 1 && members[0]["name"] == "demo-1", "{list}");
        ensure!(members[0]["clientURLs"][0] == "http://ENDPOINT", "{list}");
        let shown = etcdctl.run(subject, "member list", "")?;
        ensure!(shown.output.contains(", started, demo-1, ") && shown.output.ends_with(", false\n"), "{shown:?}");

        let status = etcdctl.json(subject, "endpoint status")?;
        let status = &status[0]["Status"];
        ensure!(status["version"] == "3.7.3" && status["storageVersion"] == "3.7.0", "{status}");
        ensure!(status["leader"] == members[0]["ID"] && status["header"]["member_id"] == members[0]["ID"], "{status}");
        ensure!(status["dbSizeQuota"] == 2_147_483_648_i64 && status["errors"].is_null(), "{status}");
        ensure!(status["raftAppliedIndex"].as_u64() > Some(0), "{status}");
        let cluster = etcdctl.run(subject, "endpoint status --cluster", "")?;
        ensure!(cluster.success && cluster.output.contains(", 3.7.3, 3.7.0, "), "{cluster:?}");
    }
    Ok(())
}

/// Requests that this version does not serve are refused immediately, with a reason.
#[test]
fn unsupported_commands_fail_with_a_reason() -> Result<()> {
    let (member, etcdctl) = (Subject::member()?, Etcdctl::new()?);
    let file = std::env::temp_dir().join(format!("raft-conformance-{}.db", std::process::id()));
    for (arguments, reason) in [
        ("member add demo-2 --peer-urls=http://127.0.0.1:1", "the operator owns membership"),
        ("lease grant 10", "this version serves KV, Cluster and Maintenance of etcd's API, no more"),
        ("user list", "this version serves KV, Cluster and Maintenance of etcd's API, no more"),
        (&format!("snapshot save {}", file.display()), "create a RaftBackup instead"),
    ] {
        let printed = etcdctl.run(&member, arguments, "")?;
        ensure!(!printed.success && printed.error.contains(reason), "etcdctl {arguments}: {printed:?}");
    }
    Ok(())
}
