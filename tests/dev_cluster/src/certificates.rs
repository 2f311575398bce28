//! Certificates and kubeconfigs of the cluster, created anew for each run. openssl generates the certificates. Owns
//! these files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{Run, command};
use crate::network::{HOST, Node};

/// Folder of the certificates.
pub(crate) fn folder(run: &Path) -> PathBuf {
    run.join("pki")
}

/// Path of the kubeconfig of `user`.
pub(crate) fn kubeconfig(run: &Path, user: &str) -> PathBuf {
    run.join(format!("{user}.kubeconfig"))
}

/// Generates the certificates of the authority, the API server, the administrator and the nodes, and the key for
/// service accounts.
pub(crate) fn create(run: &Path, nodes: &[Node]) -> Result<()> {
    let pki = folder(run);
    fs::create_dir_all(&pki)?;
    let openssl = |line: &str| command("openssl", line.split(' ')).current_dir(&pki).text();
    openssl(&format!("req -x509 {NEW_KEY} -nodes -keyout ca.key -out ca.crt -days 365 -subj /CN=dev-ca"))?;
    let names = "DNS:localhost,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,\
                 IP:127.0.0.1,IP:10.96.0.1";
    certificate(&pki, "apiserver", "/CN=kube-apiserver", &format!("{names},IP:{HOST}"))?;
    certificate(&pki, "admin", "/O=system:masters/CN=admin", "DNS:admin")?;
    write_kubeconfig(run, "admin")?;
    for node in nodes {
        let subject = format!("/O=system:nodes/CN=system:node:{node}");
        certificate(&pki, &node.to_string(), &subject, &format!("DNS:{node},IP:{}", node.address()))?;
        write_kubeconfig(run, &node.to_string())?;
    }
    openssl("genrsa -out sa.key 2048")?;
    openssl("rsa -in sa.key -pubout -out sa.pub")?;
    Ok(())
}

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256";

fn certificate(pki: &Path, name: &str, subject: &str, names: &str) -> Result<()> {
    let openssl = |line: &str| command("openssl", line.split(' ')).current_dir(pki).text();
    fs::write(
        pki.join(format!("{name}.extensions")),
        format!("subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n"),
    )?;
    openssl(&format!("req {NEW_KEY} -nodes -keyout {name}.key -out {name}.csr -subj {subject}"))?;
    openssl(&format!(
        "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out {name}.crt -days 365 \
         -extfile {name}.extensions"
    ))
    .with_context(|| format!("the certificate {name} was not generated"))?;
    Ok(())
}

fn write_kubeconfig(run: &Path, user: &str) -> Result<()> {
    let pki = folder(run);
    let pki = pki.display();
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "dev", "cluster": {
            "server": format!("https://{HOST}:6443"), "certificate-authority": format!("{pki}/ca.crt"),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate": format!("{pki}/{user}.crt"), "client-key": format!("{pki}/{user}.key"),
        }}],
        "contexts": [{"name": "dev", "context": {"cluster": "dev", "user": user}}],
        "current-context": "dev",
    });
    // A kubeconfig is YAML, and every JSON document is also a YAML document.
    fs::write(kubeconfig(run, user), serde_json::to_vec_pretty(&config)?)?;
    Ok(())
}
