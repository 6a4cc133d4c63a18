//! Renders what an adapter needs for one replica: command, environment and files, with the deployment as data.
//!
//! Templates are minijinja's, and strict: what is not in the [`Context`] is an error that names template and line, never
//! an empty text. Besides the built-in filters there are `json` (any value as JSON, for configurations that are YAML or
//! JSON), `b64` and `unb64` (base64url without padding, as in a JWK), and `seconds` (milliseconds as `1.5s`).

use crate::deployment::Deployment;
use crate::fixture::Client;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde::Serialize;
use std::collections::BTreeMap;

/// What templates see. Addresses are `host:port` texts; `link` holds for each name also `host` and `port`.
#[derive(Clone, Debug, Serialize)]
pub struct Context<'a> {
    /// This replica.
    pub replica: ReplicaContext,
    /// Address to bind: the replica's own loopback address in `process`, `0.0.0.0` in containers.
    pub listen: String,
    /// Ports by name, from the adapter.
    pub ports: BTreeMap<String, u16>,
    /// Folder with the rendered files, as the replica sees it.
    pub files: String,
    /// The replica's local disk, as it sees it: survives restarts unless wiped.
    pub disk: String,
    /// Links by role: `upstream` and `identity`; `controlPlane`, `store`, `siteStore`, `analytics` where the deployment has one; `remoteUpstream`, that of
    /// the next site, where an experiment has a route to it; where the store fails over `storeCopy` (its second node), `storeAnnounced` and
    /// `storeCopyAnnounced` (what Sentinels call the two), and `sentinel1` to `sentinel3`.
    pub link: BTreeMap<String, LinkContext>,
    /// The voters of the group that the gateways are, this replica among them (if it is one); empty without `peering`.
    pub peers: Vec<PeerContext>,
    /// The deployment, scaled.
    pub deployment: &'a Deployment,
    /// Resolved settings: the adapter's defaults, the deployment's, and an experiment's overrides.
    pub settings: BTreeMap<String, crate::profile::Scalar>,
    /// Defects to switch on.
    pub defects: Vec<String>,
    /// Signing secret of the site, base64url without padding, as in a JWK `k`.
    pub signing_secret: String,
    /// Issuer and audience of tokens.
    pub issuer: String,
    /// Audience of tokens.
    pub audience: String,
    /// Clients known from the start: they have OAuth credentials, and those with a contract are marked.
    pub clients: Vec<Client>,
    /// Credentials with which the gateway asks the identity provider about tokens (RFC 7662 section 2.1).
    pub gateway_client: Client,
    /// Folder for executables that `make` fetched (`envoy`), as the host sees it.
    pub tools: String,
    /// Folder of the adapter's file, as the host sees it.
    pub here: String,
    /// `--scale`.
    pub scale: f64,
}

/// The replica of a [`Context`].
#[derive(Clone, Debug, Serialize)]
pub struct ReplicaContext {
    /// Its name.
    pub name: String,
    /// Its site.
    pub site: String,
    /// Its zone.
    pub zone: String,
    /// Its number in the site, from 1.
    pub index: u32,
}

/// A link of a [`Context`].
#[derive(Clone, Debug, Serialize)]
pub struct LinkContext {
    /// `host:port`.
    pub address: String,
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// A voter of a [`Context`].
#[derive(Clone, Debug, Serialize)]
pub struct PeerContext {
    /// Its name.
    pub replica: String,
    /// `host:port` at which this replica dials it; empty for the replica itself.
    pub address: String,
}

/// What a replica is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Program and arguments (`process`), or the arguments after the entry point (`docker`).
    pub command: Vec<String>,
    /// Environment.
    pub environment: BTreeMap<String, String>,
    /// Files, relative to the replica's files folder.
    pub files: Vec<(String, Vec<u8>)>,
    /// Files of this machine that are copied: path relative to the replica's files folder, and place on this machine.
    pub copies: Vec<(String, String)>,
    /// Host executable from which the image is made, if the adapter names one (`docker`).
    pub from_executable: Option<String>,
}

/// A template that could not be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template `{template}`: {why}")]
pub struct RenderError {
    /// Which: a template's file as the adapter names it, the path of a file whose text stands in the adapter, `command`,
    /// `arguments`, `environment.NAME`, `fromExecutable`, `copy of PATH`, `when of PATH`, `needs of SETTING`.
    pub template: String,
    /// Line and reason.
    pub why: String,
}

impl super::Adapter {
    /// What a replica is started with as a process; an empty command if the adapter cannot start one.
    ///
    /// # Errors
    /// The first template that does not render: its name, line, and what is undefined in it.
    pub fn render_process(&self, context: &Context<'_>) -> Result<Rendered, RenderError> {
        let none = super::ProcessStart { command: Vec::new(), environment: BTreeMap::new() };
        let start = self.process.as_ref().unwrap_or(&none);
        self.rendered("command", &start.command, &start.environment, None, context)
    }

    /// What a replica is started with as a container; no arguments if the adapter cannot start one.
    ///
    /// # Errors
    /// The first template that does not render: its name, line, and what is undefined in it.
    pub fn render_container(&self, context: &Context<'_>) -> Result<Rendered, RenderError> {
        let Some(start) = &self.container else {
            return self.rendered("arguments", &[], &BTreeMap::new(), None, context);
        };
        self.rendered("arguments", &start.arguments, &start.environment, start.from_executable.as_deref(), context)
    }

    fn rendered(
        &self,
        words: &str,
        command: &[String],
        environment: &BTreeMap<String, String>,
        from_executable: Option<&str>,
        context: &Context<'_>,
    ) -> Result<Rendered, RenderError> {
        let engine = engine();
        let data = minijinja::Value::from(minijinja::value::Serde(context));
        let render = |name: &str, text: &str| {
            engine
                .render_named_str(name, text, data.clone())
                .map_err(|error| RenderError { template: name.to_owned(), why: why(&error, text) })
        };
        let command = command.iter().map(|word| render(words, word)).collect::<Result<_, _>>()?;
        let mut rendered = BTreeMap::new();
        for (name, value) in environment {
            rendered.insert(name.clone(), render(&format!("environment.{name}"), value)?);
        }
        let mut files = Vec::new();
        for file in &self.files {
            files.push((file.path.clone(), render(file.called(), &file.template)?.into_bytes()));
        }
        let mut copies = Vec::new();
        for file in &self.copies {
            let wanted = file.when.as_ref().map_or(Ok(true), |when| {
                holds(&engine, when, data.clone())
                    .map_err(|why| RenderError { template: format!("when of {}", file.path), why })
            })?;
            // Rendered where it is not wanted, too: a mistake in it is told before any experiment wants it.
            let place = render(&format!("copy of {}", file.path), &file.copy)?;
            copies.extend(wanted.then(|| (file.path.clone(), place)));
        }
        let from_executable = from_executable.map(|path| render("fromExecutable", path)).transpose()?;
        Ok(Rendered { command, environment: rendered, files, copies, from_executable })
    }

    /// Finds the settings that this machine lacks a file for; `is_there` says whether it has one. `tools` is the folder with
    /// fetched programs, as templates see it.
    ///
    /// # Errors
    /// The first [`super::Setting::needs`] that does not render: it may use `tools` and `here` alone.
    pub fn look_around(&mut self, tools: &str, is_there: impl Fn(&str) -> bool) -> Result<(), RenderError> {
        let (engine, mut unmet) = (engine(), BTreeMap::new());
        for (name, setting) in &self.settings {
            let Some(needs) = &setting.needs else { continue };
            let place = engine
                .render_named_str("needs", needs, minijinja::context! { tools, here => self.folder.as_str() })
                .map_err(|error| RenderError { template: format!("needs of {name}"), why: why(&error, needs) })?;
            if !is_there(&place) {
                let obtain = setting.obtain.as_ref().map(|obtain| format!(": {obtain}")).unwrap_or_default();
                unmet.insert(name.clone(), format!("the setting `{name}` needs `{place}`, which is not there{obtain}"));
            }
        }
        self.unmet = unmet;
        Ok(())
    }
}

/// Whether an expression of [`super::FileCopy::when`] is true, or what is wrong with it.
fn holds(engine: &Environment<'_>, when: &str, data: minijinja::Value) -> Result<bool, String> {
    let told = engine.compile_expression(when).and_then(|expression| expression.eval(data));
    match told {
        Ok(value) if value.is_undefined() => Err(format!("`{when}` is not there")),
        Ok(value) => Ok(value.is_true()),
        Err(error) => Err(why(&error, when)),
    }
}

/// The template engine, the same when an adapter is checked and when it is rendered.
pub(crate) fn engine() -> Environment<'static> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    // Lines with nothing but a block leave no trace, and the last line keeps its end.
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build();
    if let Ok(syntax) = syntax {
        engine.set_syntax(syntax);
    }
    // The output is configuration, not HTML, whatever a file is called.
    engine.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    engine.set_recursion_limit(50);
    engine.set_debug(true);
    engine.add_filter("json", json);
    engine.add_filter("seconds", seconds);
    engine.add_filter("b64", |text: &str| base64url(text.as_bytes()));
    engine.add_filter("unb64", unbase64url);
    engine
}

/// Line and reason of a template's error, with the line itself: what is undefined stands there.
pub(crate) fn why(error: &minijinja::Error, text: &str) -> String {
    let reason =
        error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    // The range is exact where the engine knows it: then the expression itself can be named.
    let expression = error.range().and_then(|range| text.get(range)).filter(|found| !found.contains('\n'));
    let reason = match expression {
        Some(expression) if !reason.contains(expression) => format!("{reason}: `{expression}`"),
        Some(_) | None => reason,
    };
    let Some(line) = error.line() else {
        return reason;
    };
    let shown = line.checked_sub(1).and_then(|index| text.lines().nth(index)).unwrap_or_default().trim();
    format!("line {line}: {reason} (in `{shown}`)")
}

fn refused(message: String) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, message)
}

fn json(value: &minijinja::Value) -> Result<String, minijinja::Error> {
    serde_json::to_string(value).map_err(|error| refused(format!("`json`: {error}")))
}

/// Milliseconds as seconds with a unit: 1500 is `1.5s`, the form of protobuf durations.
fn seconds(millis: f64) -> Result<String, minijinja::Error> {
    if millis.is_finite() && millis >= 0.0 {
        return Ok(format!("{}s", millis / 1_000.0));
    }
    Err(refused(format!("`seconds`: {millis} is not a number of milliseconds")))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64url without padding (RFC 4648 section 5).
fn base64url(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().enumerate().fold(0_u32, |number, (at, byte)| {
            number | (u32::from(*byte) << 16_usize.saturating_sub(at.saturating_mul(8)))
        });
        for at in 0..=chunk.len() {
            let shift = 18_usize.saturating_sub(at.saturating_mul(6));
            let digit = usize::try_from((number >> shift) & 63).unwrap_or_default();
            text.push(ALPHABET.get(digit).copied().map_or('A', char::from));
        }
    }
    text
}

/// The text behind base64url; an error if it is not one or not UTF-8.
fn unbase64url(text: &str) -> Result<String, minijinja::Error> {
    let mut bytes = Vec::new();
    let mut held = 0_u32;
    let mut bits = 0_u32;
    for character in text.trim_end_matches('=').bytes() {
        let Some(digit) = ALPHABET.iter().position(|known| *known == character) else {
            return Err(refused(format!("`unb64`: {:?} is not base64url", char::from(character))));
        };
        held = (held << 6) | u32::try_from(digit).unwrap_or_default();
        bits = bits.saturating_add(6);
        if bits >= 8 {
            bits = bits.saturating_sub(8);
            bytes.push(u8::try_from((held >> bits) & 255).unwrap_or_default());
            held &= 1_u32.checked_shl(bits).unwrap_or(1).saturating_sub(1);
        }
    }
    String::from_utf8(bytes).map_err(|_| refused("`unb64`: the bytes are not text".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{Context, LinkContext, ReplicaContext, base64url, unbase64url};
    use crate::adapter::{Adapter, yaml};
    use crate::deployment;
    use crate::deployment::Deployment;
    use crate::fixture::Client;
    use std::collections::BTreeMap;
    use test_case::test_case;

    fn adapter(file: &str) -> Adapter {
        let text = "version: \"1.0\"\nname: x\nprocess: {command: [\"{{ tools }}/x\"], environment: {REPLICA: \"{{ replica.name }}\"}}\n\
             ports: {data: 8080}\nready: {port: data, path: /ready, status: 200}\nrejectStatus: 429\n\
             files: [{path: x.conf, template: x.conf.j2}]\ncapabilities: [tokens]\n\
             lacks: {token-issue: none, token-rekey: none, token-revocation: none, quota: none, shared-store: none, \
             control-plane: none, configuration-version: none, configuration-choice: none, contracts: none}\n";
        yaml::parse("x.yaml", text, &mut |_| Ok(file.to_owned())).unwrap_or_else(|error| panic!("{error}"))
    }

    fn deployment() -> Deployment {
        deployment::yaml::parse(
            "edge.yaml",
            "version: \"1.0\"\nname: edge\nprofile: a\ngateway: {adapter: x}\nsites: [{name: eu, replicas: 2}]\n",
        )
        .unwrap()
    }

    fn context(deployment: &Deployment) -> Context<'_> {
        let upstream = LinkContext { address: "127.0.0.9:1".to_owned(), host: "127.0.0.9".to_owned(), port: 1 };
        Context {
            peers: Vec::new(),
            replica: ReplicaContext { name: "eu-1".to_owned(), site: "eu".to_owned(), zone: "a".to_owned(), index: 1 },
            listen: "127.0.0.2".to_owned(),
            ports: BTreeMap::from([("data".to_owned(), 8080)]),
            files: "/f".to_owned(),
            disk: "/d".to_owned(),
            link: BTreeMap::from([("upstream".to_owned(), upstream)]),
            deployment,
            settings: BTreeMap::new(),
            defects: Vec::new(),
            signing_secret: "c2VjcmV0".to_owned(),
            issuer: "i".to_owned(),
            audience: "a".to_owned(),
            clients: Vec::new(),
            gateway_client: Client { id: "gateway".to_owned(), secret: "s".to_owned(), contract: false },
            tools: "/tools".to_owned(),
            here: "/here".to_owned(),
            scale: 1.0,
        }
    }

    fn file(template: &str) -> Result<String, String> {
        let deployment = deployment();
        let rendered = adapter(template).render_process(&context(&deployment)).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(rendered.files[0].1.clone()).unwrap())
    }

    #[test]
    fn command_environment_and_files_are_rendered() {
        let deployment = deployment();
        let rendered =
            adapter("{{ ports.data }} {{ link.upstream.host }}\n").render_process(&context(&deployment)).unwrap();
        assert_eq!(rendered.command, ["/tools/x"]);
        assert_eq!(rendered.environment["REPLICA"], "eu-1");
        assert_eq!(rendered.files, [("x.conf".to_owned(), b"8080 127.0.0.9\n".to_vec())]);
        assert_eq!(rendered.from_executable, None);
    }

    #[test]
    fn a_copy_is_there_when_its_expression_says_so() {
        let deployment = deployment();
        let mut adapter = adapter("x");
        let copied = |adapter: &Adapter| adapter.render_process(&context(&deployment)).map(|rendered| rendered.copies);
        let copy = |when: Option<&str>| super::super::FileCopy {
            path: "lib.so".to_owned(),
            copy: "{{ tools }}/lib.so".to_owned(),
            when: when.map(str::to_owned),
        };
        let there = vec![("lib.so".to_owned(), "/tools/lib.so".to_owned())];
        for (when, expected) in [
            (None, there.clone()),
            (Some("scale == 1 and replica.index | int != 0"), there),
            (Some("replica.name == 'eu-2'"), Vec::new()),
        ] {
            adapter.copies = vec![copy(when)];
            assert_eq!(copied(&adapter), Ok(expected), "{when:?}");
        }
        for (when, expected) in [
            ("settings.clock != 0", "template `when of lib.so`: line 1: undefined value"),
            ("settings.clock", "template `when of lib.so`: `settings.clock` is not there"),
        ] {
            adapter.copies = vec![copy(Some(when))];
            let error = copied(&adapter).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test_case("{{ deployment.quota.window | seconds }}", "10s")]
    #[test_case("{{ 1500 | seconds }}", "1.5s")]
    #[test_case("{{ deployment.routes[0] | json }}", r#"{"name":"plain","path":"/plain","policies":["jwt"]}"#)]
    #[test_case("{{ signing_secret | unb64 }}", "secret")]
    #[test_case("{{ \"secret\" | b64 }}", "c2VjcmV0")]
    #[test_case(
        "{% for route in deployment.routes if 'jwt' in route.policies %}\n{{ route.name }}\n{% endfor %}\n",
        "plain\nmetered\n"
    )]
    #[test_case("{{ link.store.host if link.store is defined else 'none' }}", "none")]
    #[test_case("{{ '<a>' }}", "<a>")]
    fn templates_say(template: &str, expected: &str) {
        assert_eq!(file(template).unwrap(), expected);
    }

    #[test_case("\n\nport: {{ ports.admn }}", &["template `x.conf.j2`: line 3: undefined value", "ports.admn"] ; "missing port")]
    #[test_case("{{ link.store.address }}", &["line 1", "link.store.address"] ; "missing link")]
    #[test_case("{{ '!' | unb64 }}", &["line 1", "is not base64url"] ; "filter")]
    fn what_is_missing_is_named(template: &str, expected: &[&str]) {
        let error = file(template).unwrap_err();
        for part in expected {
            assert!(error.contains(part), "{error}\n--- lacks\n{part}");
        }
    }

    proptest::proptest! {
        #[test]
        fn base64url_round_trips(text in "\\PC{0,40}") {
            let encoded = base64url(text.as_bytes());
            proptest::prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
            proptest::prop_assert_eq!(unbase64url(&encoded).unwrap(), text);
        }
    }
}
