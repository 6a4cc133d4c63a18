//! Will the templates render? For each replica of a deployment, with stand-ins for what only a run knows.
//!
//! A name that does not exist is then a mistake in a file, told with its line before anything is started, and not a
//! replica that does not come up.

use super::Adapter;
use super::render::{Context, LinkContext, PeerContext, RenderError, ReplicaContext};
use crate::deployment::{Deployment, Site};
use crate::fixture::Client;
use std::collections::BTreeMap;

/// Stands in for every address.
const HOST: &str = "127.0.0.1";

impl Adapter {
    /// Renders what each replica of `deployment` would be started with, as a process and as a container, and throws it
    /// away.
    ///
    /// # Errors
    /// The first template that does not render: its file, line, and what is undefined in it.
    pub fn rehearse(&self, deployment: &Deployment) -> Result<(), RenderError> {
        for site in &deployment.sites {
            for index in 1..=site.replicas {
                let context = self.stand_in(deployment, site, index);
                self.render_process(&context)?;
                self.render_container(&context)?;
            }
        }
        Ok(())
    }

    /// What templates see of a replica that does not run: all links that the deployment has, one known client.
    #[must_use]
    pub fn stand_in<'d>(&self, deployment: &'d Deployment, site: &Site, index: u32) -> Context<'d> {
        let mut link = BTreeMap::from([("upstream".to_owned(), to(8080)), ("identity".to_owned(), to(8080))]);
        if deployment.control_plane.is_some() {
            link.insert("controlPlane".to_owned(), to(8080));
        }
        if deployment.store.is_some() {
            link.insert("store".to_owned(), to(6379));
        }
        if deployment.fails_over() {
            for role in ["storeCopy", "storeAnnounced", "storeCopyAnnounced"] {
                link.insert(role.to_owned(), to(6379));
            }
            for number in 1..=deployment.sentinels_of(&site.name).len() {
                link.insert(format!("sentinel{number}"), to(26_379));
            }
        }
        if deployment.site_store {
            link.insert("siteStore".to_owned(), to(8080));
        }
        if deployment.next_site(&site.name).is_some() {
            link.insert("remoteUpstream".to_owned(), to(8080));
        }
        if deployment.analytics.is_some() {
            link.insert("analytics".to_owned(), to(8080));
            if deployment.sites.len() >= 2 {
                link.insert("otherAnalytics".to_owned(), to(8080));
            }
        }
        let replica = ReplicaContext {
            name: format!("{}-{index}", site.name),
            site: site.name.clone(),
            zone: site.zone_of(index).to_owned(),
            index,
        };
        let address = |voter: &str| if voter == replica.name { String::new() } else { to(8082).address };
        let voters = deployment.voters().into_iter();
        let peers = voters.map(|voter| PeerContext { address: address(&voter), replica: voter }).collect();
        Context {
            replica,
            peers,
            listen: HOST.to_owned(),
            ports: self.ports.clone(),
            files: "/files".to_owned(),
            disk: "/disk".to_owned(),
            link,
            deployment,
            settings: self.settings_of(deployment, &BTreeMap::new()),
            defects: deployment.gateway.defects.clone(),
            // 32 bytes, as the secrets of a run have.
            signing_secret: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
            issuer: "issuer".to_owned(),
            audience: "audience".to_owned(),
            clients: vec![Client { id: "client-1".to_owned(), secret: "secret".to_owned(), contract: true }],
            gateway_client: Client { id: "gateway".to_owned(), secret: "secret".to_owned(), contract: false },
            tools: "/tools".to_owned(),
            here: self.folder.clone(),
            scale: 1.0,
        }
    }
}

fn to(port: u16) -> LinkContext {
    LinkContext { address: format!("{HOST}:{port}"), host: HOST.to_owned(), port }
}

#[cfg(test)]
mod tests {
    use crate::adapter::{Adapter, yaml};
    use crate::deployment::{self, Deployment};
    use std::collections::BTreeSet;
    use test_case::test_case;

    fn adapter(starts: &str, file: &str) -> Adapter {
        let text = format!(
            "version: \"1.0\"\nname: x\n{starts}\nports: {{data: 8080}}\nready: {{port: data, path: /ready}}\nrejectStatus: 429\n\
             files: [{{path: x.conf, template: x.conf.j2}}]\ncapabilities: []\n\
             lacks: {{tokens: none, token-issue: none, token-rekey: none, token-revocation: none, quota: none, shared-store: none, \
             control-plane: none, configuration-version: none, configuration-choice: none, contracts: none}}\n"
        );
        yaml::parse("x.yaml", &text, &mut |_| Ok(file.to_owned())).unwrap_or_else(|error| panic!("{error}"))
    }

    fn deployment(more: &str) -> Deployment {
        let text = format!(
            "version: \"1.0\"\nname: edge\nprofile: a\ngateway: {{adapter: x}}\nsites: [{{name: eu, replicas: 2}}]\n{more}"
        );
        deployment::yaml::parse("edge.yaml", &text).unwrap_or_else(|error| panic!("{error}"))
    }

    const PROCESS: &str = "process: {command: [x]}";

    #[test]
    fn what_renders_is_silent() {
        let file = "{{ replica.name }} {{ listen }} {{ ports.data }} {{ files }} {{ disk }} {{ link.upstream.address }} \
                    {{ signing_secret | unb64 | length }} {{ clients[0].id }} {{ tools }} {{ here }} {{ scale }}";
        assert_eq!(adapter(PROCESS, file).rehearse(&deployment("")), Ok(()));
    }

    #[test_case(PROCESS, "a\n{{ ports.admin }}", "template `x.conf.j2`: line 2: " ; "port in a file")]
    #[test_case(PROCESS, "{{ link.store.address }}", "template `x.conf.j2`: line 1: " ; "link that the deployment lacks")]
    #[test_case(PROCESS, "{% if replica.index == 2 %}{{ replica.nam }}{% endif %}", "line 1: " ; "second replica only")]
    #[test_case("process: {command: [\"{{ replica.nam }}\"]}", "", "template `command`: line 1: " ; "command")]
    #[test_case("process: {command: [x], environment: {A: \"{{ ports.b }}\"}}", "", "template `environment.A`: line 1: " ; "environment")]
    #[test_case("container: {image: x, arguments: [\"{{ ports.b }}\"]}", "", "template `arguments`: line 1: " ; "arguments of a container")]
    fn what_does_not_render_is_named(starts: &str, file: &str, expected: &str) {
        let error = adapter(starts, file).rehearse(&deployment("")).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\n--- lacks\n{expected}");
    }

    #[test]
    fn known_names_are_those_of_the_context() {
        let (adapter, deployment) = (adapter(PROCESS, ""), deployment(""));
        let context = serde_json::to_value(adapter.stand_in(&deployment, &deployment.sites[0], 1)).unwrap();
        let there: BTreeSet<&str> = context.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(there, BTreeSet::from(yaml::NAMES));
    }

    #[test]
    fn links_are_those_of_the_deployment() {
        let file = "{{ link.store.address }} {{ link.controlPlane.host }}";
        let whole = deployment("store: {kind: stub}\ncontrolPlane: {}\n");
        assert_eq!(adapter(PROCESS, file).rehearse(&whole), Ok(()));
    }
}
