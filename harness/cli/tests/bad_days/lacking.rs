//! What a run needs is not there: exit 3 with what was seen, and nothing is left.

use crate::watch::{Place, Running};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

const END_WITHIN: Duration = Duration::from_secs(60);
const DEPLOYMENT: &str = "version: \"1.0\"\nname: edge\nprofile: flex-managed\ngateway:\n  adapter: edge.yaml\n  \
                          settings: {state: memory, onStoreLoss: local}\nsites:\n  - {name: eu, zones: [a], replicas: 2}\n\
                          controlPlane: {pollInterval: 5s}\n";

/// Where the adapter of the reference gateway is.
fn adapters() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/adapters")
}

/// A deployment of the reference gateway through an adapter file in which these words were replaced, and the template likewise.
fn place_with(in_adapter: &[(&str, &str)], in_template: &[(&str, &str)]) -> Place {
    let place = Place::new();
    let replaced = |name: &str, changes: &[(&str, &str)]| {
        let mut text = std::fs::read_to_string(adapters().join(name)).expect("the adapter that comes with gatecrash");
        for (from, to) in changes {
            assert!(text.contains(from), "{name} has no {from}");
            text = text.replace(from, to);
        }
        text
    };
    place.write("deployment.yaml", DEPLOYMENT);
    place.write("edge.yaml", &replaced("reference.yaml", in_adapter));
    std::fs::create_dir(place.path().join("reference")).expect("a folder");
    place.write("reference/gateway.json", &replaced("reference/gateway.json", in_template));
    place
}

/// Certifies it, and says what was said once nothing is left.
fn refused(place: &Place, runtime: &str) -> String {
    let words = ["certify", "deployment.yaml", "--runtime", runtime, "--seed", "7", "--only", "TOK-01", "--out", "out"];
    let mut running = Running::start(place.gatecrash(&words));
    let status = running.wait(END_WITHIN);
    let said = running.said();
    assert_eq!(status.code(), Some(3), "{said}");
    assert_eq!(running.left(runtime == "docker"), Vec::<String>::new());
    assert_eq!(place.processes(), Vec::<String>::new());
    assert_eq!(place.temporary(), Vec::<PathBuf>::new());
    assert!(!place.path().join("out/report.json").exists(), "nothing was certified, so there is no report");
    said
}

pub(crate) fn an_engine() {
    let place = Place::new();
    let mut command = place.gatecrash(&["certify", "flex-managed", "--runtime", "docker", "--out", "out"]);
    command.env("DOCKER_HOST", format!("unix://{}", place.path().join("no.sock").display()));
    let mut running = Running::start(command);
    let status = running.wait(END_WITHIN);
    let said = running.said();
    assert_eq!(status.code(), Some(3), "{said}");
    assert!(said.contains("no container engine answers") && said.contains("no.sock"), "{said}");
    assert!(said.contains("start one (for example `dockerd`), or use `--runtime process`"), "{said}");
    assert!(!place.path().join("out").exists());
}

pub(crate) fn a_program() {
    let place = place_with(&[("command: [\"gatecrash\"", "command: [\"no-such-gateway\"")], &[]);
    let said = refused(&place, "process");
    assert!(said.contains("program `no-such-gateway` of `eu-1` was not found: it is not on PATH"), "{said}");
}

/// Somebody has the port already: the gateway's own words are shown.
pub(crate) fn a_port() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("\"{}\"", taken.local_addr().expect("an address"));
    let place = place_with(&[], &[("{{ (listen ~ \":\" ~ ports.data) | tojson }}", &address)]);
    let said = refused(&place, "process");
    assert!(said.contains("`eu-1`") || said.contains("`eu-2`"), "{said}");
    let seen = format!("address {} is taken", address.trim_matches('"'));
    assert!(said.contains(&seen), "no `{seen}` in:\n{said}");
}

/// It runs and runs, and never becomes ready: the last status and the last lines of its log are shown.
pub(crate) fn readiness() {
    let place = place_with(
        &[("path: /ready, status: 200", "path: /not-there, status: 200"), ("readyWithin: 30s", "readyWithin: 2s")],
        &[],
    );
    let said = refused(&place, "process");
    assert!(said.contains("not ready after 2.0 s; last status: status 404 on "), "{said}");
    let place = place_with(
        &[
            (
                "command: [\"gatecrash\", \"fixture\", \"gateway\"",
                "command: [\"sh\", \"-c\", \"echo it says this and listens to nobody; exec sleep 30\"",
            ),
            ("readyWithin: 30s", "readyWithin: 2s"),
        ],
        &[],
    );
    let said = refused(&place, "process");
    let log = |replica: &str| said.contains(&format!("{replica}: it says this and listens to nobody"));
    assert!(said.contains("not ready after 2.0 s; last status: ") && (log("eu-1") || log("eu-2")), "{said}");
}

pub(crate) fn an_image() {
    let place = place_with(&[("image: gatecrash", "image: \"gatecrash.invalid/no-such-gateway:1\"")], &[]);
    let said = refused(&place, "docker");
    assert!(said.contains("image `gatecrash.invalid/no-such-gateway:1` is neither local"), "{said}");
}
