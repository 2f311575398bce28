//! `cargo xtask demo`: the life of a Raft cluster on a real Kubernetes cluster, from installation to restore, shown
//! step by step. The demo fails if a step fails, if no write is acknowledged for longer than a limit, or if an
//! acknowledged write is missing. Owns the sequence of steps. Does not own the steps (crate `scenario`).

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use dev_cluster::{Cluster, Lifetime, ObjectStore, PATIENCE, Program, Run, programs, require_root};
use scenario::client::{Etcdctl, Traffic};
use scenario::raft_cluster::RaftCluster;
use scenario::{Kubernetes, backup, operator};
use serde_json::Value;

use crate::image::{self, Profile, Written};
use crate::steps::Steps;
use crate::toolchain;
use crate::watched::{checked, summary, watched};

/// Maximum time without an acknowledgement while members change, transfer leadership or are replaced.
const PLANNED_GAP: Duration = Duration::from_secs(1);
/// Maximum time without an acknowledgement when the leader is killed without warning.
const KILLED_GAP: Duration = Duration::from_secs(3);
/// Maximum duration of one membership change.
const CHANGE: Duration = Duration::from_secs(180);
const NAMESPACE: &str = "raft-demo";
const STEPS: usize = 16;

/// The Kubernetes cluster and the object store that the demo uses.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Kubeconfig of your own Kubernetes cluster, which is used instead of the dev cluster; needs --load kind or
    /// --registry, and the --store flags
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    images: image::Arguments,
    /// S3 endpoint that the pods of your Kubernetes cluster can reach; the keys are read from AWS_ACCESS_KEY_ID and
    /// AWS_SECRET_ACCESS_KEY
    #[arg(long)]
    store_endpoint: Option<String>,
    /// Bucket for the backup
    #[arg(long, default_value = "raft-backups")]
    store_bucket: String,
    /// Region in the signatures of requests to the object store
    #[arg(long, default_value = "us-east-1")]
    store_region: String,
    /// Takes the dev cluster down at the end, instead of leaving it for inspection
    #[arg(long)]
    down: bool,
}

/// The Kubernetes cluster, object store and images of a demo.
struct Place {
    kubernetes: Kubernetes,
    /// The dev cluster if the demo runs on it, otherwise `None`. The demo can cause faults of machines only on the dev
    /// cluster.
    cluster: Option<Cluster>,
    store: ObjectStore,
    images: Images,
}

/// Names of the images by their role.
#[derive(Default)]
struct Images {
    operator: String,
    node: String,
    etcdctl: String,
    traffic: String,
}

/// Runs the demo.
///
/// # Errors
/// Returns an error if the dev cluster cannot be taken down. The error of a failed step is printed and sets the exit
/// code.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let steps = Steps::new(STEPS);
    let result = all(arguments, &steps);
    println!("{}", steps.summary());
    let place = match result {
        Ok(place) => place,
        Err(error) => {
            // The error of a failed step is already printed. An error outside the steps is printed here.
            if steps.all_held() {
                eprintln!("error: {error:#}");
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    if place.cluster.is_some() && arguments.down {
        dev_cluster::down()?;
    } else {
        println!("{}", look_around(&place));
    }
    Ok(ExitCode::SUCCESS)
}

fn all(arguments: &Arguments, steps: &Steps) -> Result<Place> {
    let place = prepare(arguments, steps)?;
    let kubernetes = &place.kubernetes;
    let demo = RaftCluster::named(kubernetes, "demo");
    create(&place, &demo, steps)?;
    let traffic = Traffic::start(kubernetes, &place.images.traffic, &demo.endpoint(), 2)?;
    change_members(&demo, &traffic, steps)?;
    injure(&place, &demo, &traffic, steps)?;
    steps.step("every acknowledged write is there, once", || {
        let verdict = traffic.verify(&demo.endpoint())?;
        steps.note(&checked(&verdict));
        let expected = verdict.acknowledged + verdict.unknown_applied;
        ensure!(verdict.revisions == expected, "{} revisions for {expected} writes", verdict.revisions);
        Ok(())
    })?;
    back_up_and_restore(&place, &demo, &traffic, steps)?;
    Ok(place)
}

fn prepare(arguments: &Arguments, steps: &Steps) -> Result<Place> {
    // After `cargo xtask cluster env`, KUBECONFIG names the dev cluster. The dev cluster does not count as the user's
    // own cluster, which would need the --store flags and a way to get the images.
    let is_dev_cluster = |path: &PathBuf| Cluster::open().is_ok_and(|cluster| cluster.kubeconfig() == *path);
    if let Some(kubeconfig) = arguments.kubeconfig.as_ref().filter(|path| !is_dev_cluster(path)) {
        return prepare_given(arguments, kubeconfig, steps);
    }
    let cluster = steps.step("a Kubernetes of three nodes", || {
        require_root()?;
        Cluster::up(&crate::cluster::options(3, Lifetime::Standing), &|line| steps.note(line))
    })?;
    let images = steps.step("images, built without Docker and loaded into every node", || {
        let written = image::build("localhost", "dev", Profile::Quick, &|line| steps.note(line))?;
        image::list(&written, &|line| steps.note(line));
        image::load_into(&cluster, &written)?;
        Images::of(&written)
    })?;
    let kubernetes = Kubernetes::of(&cluster, NAMESPACE);
    let store = cluster.object_store().clone();
    Ok(Place { kubernetes, cluster: Some(cluster), store, images })
}

fn prepare_given(arguments: &Arguments, kubeconfig: &std::path::Path, steps: &Steps) -> Result<Place> {
    ensure!(
        arguments.images.reach_a_cluster(),
        "your own Kubernetes needs a way to get the images: add --load kind, or --registry NAME"
    );
    let endpoint = arguments.store_endpoint.clone();
    let endpoint =
        endpoint.context("your own Kubernetes needs an S3 server for the backup: add --store-endpoint URL")?;
    let key = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set: the backup needs it"));
    let store = ObjectStore {
        endpoint,
        bucket: arguments.store_bucket.clone(),
        region: arguments.store_region.clone(),
        access_key: key("AWS_ACCESS_KEY_ID")?,
        secret_key: key("AWS_SECRET_ACCESS_KEY")?,
    };
    let kubernetes = steps.step("kubectl and helm for your Kubernetes", || {
        let built = programs::build(&[Program::Kubectl, Program::Helm], &|line| steps.note(line))?;
        let (kubectl, helm) = (built.path(Program::Kubectl), built.path(Program::Helm));
        let kubernetes = Kubernetes::given(kubectl, helm, kubeconfig, NAMESPACE);
        steps.note(kubernetes.kubectl(["version"]).text()?.trim());
        Ok(kubernetes)
    })?;
    let images = steps.step("images, built without Docker", || {
        let written = image::build_and_load(&arguments.images, &|line| steps.note(line))?;
        Images::of(&written)
    })?;
    Ok(Place { kubernetes, cluster: None, store, images })
}

impl Images {
    fn of(written: &[Written]) -> Result<Self> {
        let named = |role: &str| {
            let found = written.iter().find(|image| image.name.contains(&format!("/{role}:")));
            Ok::<_, anyhow::Error>(found.with_context(|| format!("no image {role} was written"))?.name.clone())
        };
        Ok(Self {
            operator: named("raft-operator")?,
            node: named("raft-node")?,
            etcdctl: named("etcdctl")?,
            traffic: named("traffic")?,
        })
    }
}

fn create(place: &Place, demo: &RaftCluster<'_>, steps: &Steps) -> Result<()> {
    let kubernetes = &place.kubernetes;
    steps.step("helm install raft-operator", || {
        let charts = toolchain::top().join("charts");
        operator::install(kubernetes, &charts, &place.images.operator, &place.images.node)
    })?;
    steps.step("kubectl apply -f minimal.yaml: three members, Ready", || {
        kubernetes.create_namespace()?;
        backup::create_credentials(kubernetes, &place.store.access_key, &place.store.secret_key)?;
        let example = std::fs::read_to_string(toolchain::top().join("crds/examples/minimal.yaml"))?;
        kubernetes.apply(&format!("{}\n{}", example.trim_end(), backup::store_yaml(&place.store)))?;
        demo.wait_ready(CHANGE)?;
        show(steps, &kubernetes.kubectl(["get", "raft"]).text()?);
        Ok(())
    })?;
    steps.step("etcdctl writes, reads and lists the members", || {
        let etcdctl = Etcdctl::new(kubernetes, &place.images.etcdctl, &demo.endpoint());
        etcdctl.run(&["put", "greeting", "hello"])?;
        let read = etcdctl.run(&["get", "greeting", "--print-value-only"])?;
        ensure!(read.trim() == "hello", "etcdctl read {read:?}");
        show(steps, &etcdctl.run(&["member", "list", "--write-out=table"])?);
        show(steps, &etcdctl.run(&["endpoint", "status", "--cluster", "--write-out=table"])?);
        let started = etcdctl.run(&["member", "list"])?.lines().filter(|line| line.contains(", started,")).count();
        ensure!(started == 3, "etcdctl lists {started} started members instead of three");
        let status: Value =
            serde_json::from_str(&etcdctl.run(&["endpoint", "status", "--cluster", "--write-out=json"])?)?;
        let statuses = status.as_array().context("etcdctl prints one status for each endpoint")?;
        let leads = |status: &&Value| status["Status"]["leader"] == status["Status"]["header"]["member_id"];
        let leaders = statuses.iter().filter(leads).count();
        let answers = statuses.len();
        ensure!(answers == 3 && leaders == 1, "{answers} members report their status, {leaders} of them lead");
        Ok(())
    })
}

fn change_members(demo: &RaftCluster<'_>, traffic: &Traffic<'_>, steps: &Steps) -> Result<()> {
    steps.step("a client writes without pause", || {
        traffic.mark("undisturbed")?;
        dev_cluster::until("a hundred writes are acknowledged", PATIENCE, || {
            let phase = traffic.mark("undisturbed")?;
            Ok((phase.acknowledged >= 100).then(|| steps.note(&summary(&phase))))
        })
    })?;
    for (replicas, voters) in [(5, 5), (3, 3)] {
        let name = format!("kubectl scale raftcluster/demo --replicas={replicas}");
        steps.step(&name, || {
            watched(traffic, steps, PLANNED_GAP, || {
                demo.scale(replicas)?;
                demo.await_members(voters, 0, CHANGE).map(drop)
            })
        })?;
    }
    Ok(())
}

fn injure(place: &Place, demo: &RaftCluster<'_>, traffic: &Traffic<'_>, steps: &Steps) -> Result<()> {
    let kubernetes = &place.kubernetes;
    steps.step("kubectl delete pod of the leader", || {
        watched(traffic, steps, PLANNED_GAP, || {
            let leader = demo.leader()?;
            steps.note(&format!("the leader is {leader}"));
            let life = demo.life(&leader)?;
            kubernetes.kubectl(["delete", "pod", &demo.pod(&leader), "--wait"]).text()?;
            demo.await_new_life(&leader, life.as_deref(), CHANGE)
        })
    })?;
    steps.step("SIGKILL of the leader", || {
        watched(traffic, steps, KILLED_GAP, || {
            let leader = demo.leader()?;
            steps.note(&format!("the leader is {leader}"));
            let (pod, life) = (demo.pod(&leader), demo.life(&leader)?);
            match &place.cluster {
                Some(cluster) => drop(cluster.kill_container(NAMESPACE, &pod, "raft-node")?),
                None => drop(kubernetes.kubectl(["delete", "pod", &pod, "--force", "--grace-period=0"]).text()?),
            }
            demo.await_new_life(&leader, life.as_deref(), CHANGE)
        })
    })?;
    let wipe = "a follower's volume is wiped; the member is replaced";
    match &place.cluster {
        Some(cluster) => {
            steps.step(wipe, || watched(traffic, steps, PLANNED_GAP, || wipe_and_await(cluster, demo, steps)))?
        }
        None => steps.skip(wipe, "only volumes of the dev cluster can be emptied"),
    }
    steps.step("a follower's pod and claim are deleted; the member is replaced", || {
        watched(traffic, steps, PLANNED_GAP, || {
            let (victim, before) = a_follower(demo)?;
            let claim = claim_of(demo, &victim)?;
            // The deletion guard of the chart refuses to delete an object that is not marked.
            let mark = "raftoperator.io/allow-deletion=true";
            kubernetes.kubectl(["annotate", "persistentvolumeclaim", &claim, mark]).text()?;
            kubernetes.kubectl(["delete", "persistentvolumeclaim", &claim, "--wait=false"]).text()?;
            kubernetes.kubectl(["delete", "pod", &demo.pod(&victim), "--wait"]).text()?;
            await_replacement(demo, &victim, &before, steps)
        })
    })
}

fn wipe_and_await(cluster: &Cluster, demo: &RaftCluster<'_>, steps: &Steps) -> Result<()> {
    let (victim, before) = a_follower(demo)?;
    let claim = claim_of(demo, &victim)?;
    cluster.empty_volume(NAMESPACE, &claim)?;
    cluster.kill_container(NAMESPACE, &demo.pod(&victim), "raft-node")?;
    await_replacement(demo, &victim, &before, steps)
}

/// Name of a follower, and the names of all members.
fn a_follower(demo: &RaftCluster<'_>) -> Result<(String, Vec<String>)> {
    let leader = demo.leader()?;
    let names: Vec<String> = demo.status()?.members().into_iter().map(|(name, _)| name).collect();
    let victim = names.iter().find(|name| **name != leader).context("there is no follower")?.clone();
    Ok((victim, names))
}

fn claim_of(demo: &RaftCluster<'_>, member: &str) -> Result<String> {
    let claims = demo.claims()?;
    let suffix = demo.pod(member);
    let found = claims.iter().find(|claim| claim.ends_with(&suffix));
    Ok(found.with_context(|| format!("{member} has no volume claim among {claims:?}"))?.clone())
}

fn await_replacement(demo: &RaftCluster<'_>, victim: &str, before: &[String], steps: &Steps) -> Result<()> {
    dev_cluster::until(&format!("{victim} is replaced"), CHANGE, || {
        let status = demo.status()?;
        let names: Vec<String> = status.members().into_iter().map(|(name, _)| name).collect();
        let new = names.iter().find(|name| !before.contains(name));
        let done = status.settled() && status.number("voters") == 3 && !names.iter().any(|name| name == victim);
        ensure!(done, "{}", status.explain());
        Ok(new.map(|new| steps.note(&format!("{victim} was replaced by {new}"))))
    })
}

fn back_up_and_restore(place: &Place, demo: &RaftCluster<'_>, traffic: &Traffic<'_>, steps: &Steps) -> Result<()> {
    let kubernetes = &place.kubernetes;
    steps.step("kubectl apply of a RaftBackup: complete", || {
        backup::create(kubernetes, "demo-full", "demo")?;
        let status = backup::wait_complete(kubernetes, "demo-full", CHANGE)?;
        steps
            .note(&format!("{} bytes at revision {}: {}", status["sizeBytes"], status["revision"], status["manifest"]));
        Ok(())
    })?;
    let restored = RaftCluster::named(kubernetes, "restored");
    steps.step("the cluster is deleted with its volumes and restored into a new one", || {
        demo.delete_with_volumes(CHANGE)?;
        kubernetes.apply(&format!(
            "apiVersion: raftoperator.io/v1alpha1\nkind: RaftCluster\nmetadata: {{name: restored}}\nspec:\n  replicas: 3\n  \
             storage: {{size: 1Gi}}\n  tls: {{client: Plaintext, peer: Plaintext}}\n  bootstrap: {{restore: {{backupName: \
             demo-full}}}}\n{}",
            backup::store_yaml(&place.store)
        ))?;
        restored.wait_ready(CHANGE)?;
        restored.await_members(3, 0, CHANGE)?;
        show(steps, &kubernetes.kubectl(["get", "raft"]).text()?);
        Ok(())
    })?;
    steps.step("every acknowledged write is in the restored cluster", || {
        let verdict = traffic.verify(&restored.endpoint())?;
        steps.note(&checked(&verdict));
        Ok(())
    })
}

fn show(steps: &Steps, text: &str) {
    text.trim_end().lines().for_each(|line| steps.note(line));
}

fn look_around(place: &Place) -> String {
    let mut lines = vec!["\nLook around:".to_owned()];
    if place.cluster.is_some() {
        lines.push("  eval \"$(cargo xtask cluster env)\"".into());
    }
    lines.push(format!("  kubectl -n {NAMESPACE} get raft,pods,pvc"));
    lines.push(format!("  kubectl -n {NAMESPACE} describe raftcluster restored"));
    lines.push(format!(
        "  kubectl -n {NAMESPACE} port-forward service/restored 2379 &  etcdctl get --prefix / --limit 5"
    ));
    if place.cluster.is_some() {
        lines.push("Take it down:\n  cargo xtask cluster down".into());
    } else {
        lines.push(format!(
            "Remove it:\n  kubectl delete namespace {NAMESPACE} && helm -n raft-operator uninstall raft-operator"
        ));
    }
    lines.join("\n")
}
