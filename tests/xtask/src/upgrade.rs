//! `cargo xtask upgrade`: installs the operator of an earlier commit on the dev cluster, creates clusters with it, and
//! upgrades the operator and then the members while a client writes. Owns the sequence of steps. Does not own the images
//! and the chart of the earlier commit (`former.rs`).

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use dev_cluster::{Cluster, Lifetime, PATIENCE, Run, require_root, until};
use scenario::client::{Etcdctl, Traffic};
use scenario::raft_cluster::RaftCluster;
use scenario::{Kubernetes, operator};

use crate::former::{self, Former};
use crate::image::{self, Profile};
use crate::steps::Steps;
use crate::toolchain;
use crate::watched::{checked, watched};

/// Maximum time without an acknowledgement while members restart or change.
const PLANNED_GAP: Duration = Duration::from_secs(1);
/// Maximum duration of one change of all members.
const CHANGE: Duration = Duration::from_secs(300);
const NAMESPACE: &str = "raft-upgrade";
const STEPS: usize = 11;

/// The commit to upgrade from.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The earlier commit. The default is the last one before StatefulSets were replaced as a whole
    #[arg(long, default_value = "3b4e464")]
    from: String,
}

/// The dev cluster, with what is installed on it.
struct Place {
    cluster: Cluster,
    kubernetes: Kubernetes,
    former: Former,
}

/// Runs the upgrade, and takes the dev cluster down. An error is printed and sets the exit code.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let steps = Steps::new(STEPS);
    let result = all(arguments, &steps);
    println!("{}", steps.summary());
    if let Err(error) = &result {
        // The error of a failed step is already printed. An error outside the steps is printed here.
        if steps.all_held() {
            eprintln!("error: {error:#}");
        }
    }
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn all(arguments: &Arguments, steps: &Steps) -> Result<()> {
    let place = prepare(arguments, steps)?;
    let done = on_the_cluster(&place, steps);
    if done.is_err() {
        explain(&place);
    }
    dev_cluster::down()?;
    done
}

fn on_the_cluster(place: &Place, steps: &Steps) -> Result<()> {
    let demo = RaftCluster::named(&place.kubernetes, "demo");
    let single = RaftCluster::named(&place.kubernetes, "single");
    create(place, [(&demo, 3), (&single, 1)], steps)?;
    let traffic = Traffic::start(&place.kubernetes, "localhost/traffic:dev", &demo.endpoint(), 2)?;
    upgrade(place, &demo, &single, &traffic, steps)?;
    refuse_former(place, &single, steps)
}

fn prepare(arguments: &Arguments, steps: &Steps) -> Result<Place> {
    let say = |line: &str| steps.note(line);
    require_root()?;
    let former = steps.step(&format!("images of {}", arguments.from), || former::build(&arguments.from, &say))?;
    let written = steps.step("images of this tree", || image::build("localhost", "dev", Profile::Quick, &say))?;
    steps.step("a Kubernetes of three nodes", || {
        let cluster = Cluster::up(&crate::cluster::options(3, Lifetime::Tied), &say)?;
        image::load_into(&cluster, &written)?;
        former.images.iter().try_for_each(|image| cluster.load_image(image))?;
        let kubernetes = Kubernetes::of(&cluster, NAMESPACE);
        Ok(Place { cluster, kubernetes, former })
    })
}

/// Installs the earlier operator, and creates clusters with the given numbers of replicas.
fn create(place: &Place, clusters: [(&RaftCluster<'_>, u32); 2], steps: &Steps) -> Result<()> {
    let kubernetes = &place.kubernetes;
    steps.step("the earlier operator creates a cluster of three and a cluster of one", || {
        let tagged = |program: &str| format!("localhost/{program}:{}", former::TAG);
        operator::install(kubernetes, &place.former.charts, &tagged("raft-operator"), &tagged("raft-node"))?;
        kubernetes.create_namespace()?;
        for (cluster, replicas) in clusters {
            kubernetes.apply(&format!(
                "apiVersion: raftoperator.io/v1alpha1\nkind: RaftCluster\nmetadata: {{name: {}}}\nspec:\n  replicas: \
                 {replicas}\n  storage: {{size: 1Gi}}\n  tls: {{client: Plaintext, peer: Plaintext}}\n",
                cluster.name
            ))?;
        }
        for (cluster, replicas) in clusters {
            cluster.await_members(replicas.into(), 0, CHANGE)?;
        }
        etcdctl(kubernetes, clusters[1].0).run(&["put", "greeting", "hello"]).map(drop)
    })
}

fn upgrade(
    place: &Place,
    demo: &RaftCluster<'_>,
    single: &RaftCluster<'_>,
    traffic: &Traffic<'_>,
    steps: &Steps,
) -> Result<()> {
    let kubernetes = &place.kubernetes;
    let before = [lives(demo)?, lives(single)?];
    steps.step("helm upgrade: the new operator manages both clusters and restarts no member", || {
        watched(traffic, steps, PLANNED_GAP, || {
            let charts = toolchain::top().join("charts");
            operator::install(kubernetes, &charts, "localhost/raft-operator:dev", "localhost/raft-node:dev")?;
            for cluster in [demo, single] {
                until(&format!("the new operator manages {}", cluster.name), PATIENCE, || {
                    let noted = annotation(kubernetes, cluster, "raftoperator.io/operator")?;
                    Ok((!noted.is_empty() && cluster.status()?.settled()).then_some(()))
                })?;
            }
            ensure!([lives(demo)?, lives(single)?] == before, "the new operator restarted a member");
            Ok(())
        })
    })?;
    for replicas in [5, 3] {
        steps.step(&format!("the new operator scales members of the earlier version to {replicas}"), || {
            watched(traffic, steps, PLANNED_GAP, || {
                demo.scale(replicas)?;
                demo.await_members(replicas.into(), 0, CHANGE).map(drop)
            })
        })?;
    }
    steps.step("the members are upgraded by spec.image, one by one", || {
        watched(traffic, steps, PLANNED_GAP, || {
            for cluster in [demo, single] {
                let patch = r#"{"spec":{"image":"localhost/raft-node:dev"}}"#;
                let name = format!("raftcluster/{}", cluster.name);
                kubernetes.kubectl(["patch", &name, "--type=merge", "-p", patch]).text()?;
            }
            demo.await_members(3, 0, CHANGE)?;
            single.await_members(1, 0, CHANGE)?;
            [demo, single]
                .into_iter()
                .try_for_each(|cluster| runs_image(kubernetes, cluster, "localhost/raft-node:dev"))
        })
    })?;
    steps.step("every acknowledged write is there, once", || {
        let verdict = traffic.verify(&demo.endpoint())?;
        steps.note(&checked(&verdict));
        let read = etcdctl(kubernetes, single).run(&["get", "greeting", "--print-value-only"])?;
        ensure!(read.trim() == "hello", "the cluster of one returned {read:?}");
        Ok(())
    })?;
    steps.step("the upgraded clusters scale", || {
        single.scale(3)?;
        single.await_members(3, 0, CHANGE)?;
        demo.scale(1)?;
        demo.await_members(1, 0, CHANGE).map(drop)
    })
}

/// Names the earlier image again, whose program cannot read what the raised feature level lets members write.
fn refuse_former(place: &Place, cluster: &RaftCluster<'_>, steps: &Steps) -> Result<()> {
    let kubernetes = &place.kubernetes;
    let set_image = |image: &str| {
        let (name, patch) = (format!("raftcluster/{}", cluster.name), format!(r#"{{"spec":{{"image":"{image}"}}}}"#));
        kubernetes.kubectl(["patch", &name, "--type=merge", "-p", &patch]).text().map(drop)
    };
    steps.step("the earlier image is refused by its name and level, and no member restarts", || {
        until("the feature level is raised", CHANGE, || {
            let status = cluster.status()?;
            ensure!(status.settled() && status.number("featureLevel") > 1, "{}", status.explain());
            Ok(Some(()))
        })?;
        let before = lives(cluster)?;
        let former = format!("localhost/raft-node:{}", former::TAG);
        set_image(&former)?;
        let message = until("the operator refuses the image", PATIENCE, || {
            let status = cluster.status()?;
            ensure!(status.reason("Stalled") == "DowngradeRefused", "{}", status.explain());
            Ok(Some(status.message("Stalled")))
        })?;
        ensure!(message.contains(&former) && message.contains("supports feature level 1"), "{message}");
        ensure!(lives(cluster)? == before, "a member restarted");
        runs_image(kubernetes, cluster, "localhost/raft-node:dev")?;
        set_image("localhost/raft-node:dev")?;
        cluster.wait_ready(PATIENCE)?;
        ensure!(lives(cluster)? == before, "a member restarted after the image was set back");
        Ok(())
    })
}

fn etcdctl<'a>(kubernetes: &'a Kubernetes, cluster: &RaftCluster<'_>) -> Etcdctl<'a> {
    Etcdctl::new(kubernetes, "localhost/etcdctl:dev", &cluster.endpoint())
}

/// The present start of every member's container.
fn lives(cluster: &RaftCluster<'_>) -> Result<Vec<Option<String>>> {
    cluster.status()?.members().iter().map(|(name, _)| cluster.life(name)).collect()
}

/// Value of an annotation of the members' Service; empty if it has none.
fn annotation(kubernetes: &Kubernetes, cluster: &RaftCluster<'_>, key: &str) -> Result<String> {
    let service = kubernetes.get("service", &format!("{}-members", cluster.name))?;
    let service = service.with_context(|| format!("{} has no Service of its members", cluster.name))?;
    Ok(service["metadata"]["annotations"][key].as_str().unwrap_or_default().to_owned())
}

fn runs_image(kubernetes: &Kubernetes, cluster: &RaftCluster<'_>, image: &str) -> Result<()> {
    for pod in kubernetes.list("pods", &format!("raftoperator.io/cluster={}", cluster.name))? {
        let runs = &pod["spec"]["containers"][0]["image"];
        ensure!(runs == image, "{} runs {runs} instead of {image}", pod["metadata"]["name"]);
    }
    Ok(())
}

/// Prints the state of the clusters, and the operator's log.
fn explain(place: &Place) {
    let log =
        format!("logs --namespace {} --selector=app.kubernetes.io/name=raft-operator --tail=200", operator::RELEASE);
    for query in ["get raft,pods,statefulsets,persistentvolumeclaims -o wide", "get raft -o yaml", "get events", &log] {
        let output = place.kubernetes.kubectl(query.split(' ')).text().unwrap_or_else(|error| format!("{error:#}"));
        println!("--- kubectl {query}\n{output}");
    }
    println!("logs of the dev cluster: {}", place.cluster.logs().display());
}
