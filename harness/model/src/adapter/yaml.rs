//! Adapters as written: YAML and templates to [`super::Adapter`].
//!
//! Templates are compiled here, so that a mistake in one is told before anything is started; which of their
//! names are undefined is only known when they are rendered.

use super::render::{engine, why};
use super::{
    Adapter, ContainerStart, Endpoint, FileCopy, FileTemplate, PEER_PORT, Probe, ProcessStart, ResetUnit, Setting,
};
use crate::claim::Capability;
use crate::deployment::Deployment;
use crate::deployment::yaml::version;
use crate::input::fields::{self, Fields};
use crate::input::tree::{self, Node, Value};
use crate::input::{InputError, Mistakes, Position, listed};
use crate::profile::Scalar;
use std::collections::BTreeMap;
use std::time::Duration;

/// What an adapter must say that it can do or lacks; the other capabilities are those of topology and runtime.
const CAPABILITIES: [(&str, Capability); 10] = [
    ("tokens", Capability::Tokens),
    ("token-issue", Capability::TokenIssue),
    ("token-rekey", Capability::TokenRekey),
    ("token-revocation", Capability::TokenRevocation),
    ("quota", Capability::Quota),
    ("shared-store", Capability::SharedStore),
    ("control-plane", Capability::ControlPlane),
    ("configuration-version", Capability::ConfigurationVersion),
    ("configuration-choice", Capability::ConfigurationChoice),
    ("contracts", Capability::Contracts),
];

/// What `X-RateLimit-Reset` may count in.
const RESET_UNITS: [(&str, ResetUnit); 4] =
    [("ms", ResetUnit::Ms), ("s", ResetUnit::S), ("epoch", ResetUnit::Epoch), ("http-date", ResetUnit::HttpDate)];

/// The names that templates may use; a test holds them to [`super::render::Context`].
pub(super) const NAMES: [&str; 18] = [
    "replica",
    "listen",
    "ports",
    "files",
    "disk",
    "link",
    "peers",
    "deployment",
    "settings",
    "defects",
    "signing_secret",
    "issuer",
    "audience",
    "clients",
    "gateway_client",
    "tools",
    "here",
    "scale",
];

/// The adapter that `text` describes. `load` gives the text of a template by the path that the adapter names
/// (beside the adapter's file), or says why it cannot.
///
/// # Errors
/// Every mistake with its place in `text`, which is called `source_name` in the messages.
pub fn parse(
    source_name: &str,
    text: &str,
    load: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<Adapter, InputError> {
    let root = tree::read(source_name, text)?;
    let mut mistakes = Mistakes::new(source_name, text);
    let adapter = adapter(&root, load, &mut mistakes);
    mistakes.finish(adapter)
}

impl Adapter {
    /// Holds the settings of a deployment to what this adapter understands. `source_name` and `text` are the deployment
    /// as written, for the places in the messages; with a text that is not the deployment's the places are missing.
    ///
    /// # Errors
    /// Every setting that is unknown, or has a value that is not legal; a runtime-neutral check of nothing else.
    pub fn check_settings(&self, deployment: &Deployment, source_name: &str, text: &str) -> Result<(), InputError> {
        let mut mistakes = Mistakes::new(source_name, text);
        let written = tree::read(source_name, text).ok();
        for (name, value) in &deployment.gateway.settings {
            let at = written.as_ref().and_then(|root| setting_place(root, name));
            let (key_at, value_at) = at.unwrap_or_default();
            let Some(setting) = self.settings.get(name) else {
                let known: Vec<&String> = self.settings.keys().collect();
                mistakes.add(
                    key_at,
                    format!("adapter `{}` has no setting `{name}`; known are {}", self.name, listed(&known)),
                );
                continue;
            };
            if let Some(expected) = setting.refuses(value) {
                mistakes.add(value_at, format!("setting `{name}` is {}; {expected}", shown(value)));
            }
        }
        if deployment.peering.is_some() && !self.ports.contains_key(PEER_PORT) {
            let at = written.as_ref().and_then(|root| entry(root, "peering")).map(|(at, _)| at);
            mistakes.add(
                at.unwrap_or_default(),
                format!(
                    "adapter `{}` has no port `{PEER_PORT}`, at which the gateways of a group reach each other: it has no `peering`",
                    self.name
                ),
            );
        }
        mistakes.finish(Some(()))
    }

    /// The settings that hold: the adapter's defaults, over them the deployment's, over them `overrides`.
    #[must_use]
    pub fn settings_of(
        &self,
        deployment: &Deployment,
        overrides: &BTreeMap<String, Scalar>,
    ) -> BTreeMap<String, Scalar> {
        let mut settings: BTreeMap<String, Scalar> =
            self.settings.iter().filter_map(|(name, setting)| Some((name.clone(), setting.default.clone()?))).collect();
        for (name, value) in deployment.gateway.settings.iter().chain(overrides) {
            settings.insert(name.clone(), value.clone());
        }
        settings
    }
}

impl Setting {
    /// What is legal, if `value` is not.
    fn refuses(&self, value: &Scalar) -> Option<String> {
        if !self.words.is_empty() {
            let legal = matches!(value, Scalar::Text(text) if self.words.contains(text));
            return (!legal).then(|| format!("known are {}", listed(&self.words)));
        }
        match (self.default.as_ref()?, value) {
            (Scalar::Boolean(_), Scalar::Boolean(_))
            | (Scalar::Number(_), Scalar::Number(_))
            | (Scalar::Text(_), Scalar::Text(_)) => None,
            (Scalar::Boolean(_), Scalar::Number(_) | Scalar::Text(_)) => {
                Some("it must be `true` or `false`".to_owned())
            }
            (Scalar::Number(_), Scalar::Boolean(_) | Scalar::Text(_)) => Some("it must be a number".to_owned()),
            (Scalar::Text(_), Scalar::Boolean(_) | Scalar::Number(_)) => {
                Some("it must be text: put it in quotes".to_owned())
            }
        }
    }
}

fn shown(value: &Scalar) -> String {
    match value {
        Scalar::Boolean(value) => value.to_string(),
        Scalar::Number(value) => value.to_string(),
        Scalar::Text(value) => format!("`{value}`"),
    }
}

/// Where `gateway.settings.NAME` stands: its key and its value.
fn entry<'n>(node: &'n Node, name: &str) -> Option<(Position, &'n Node)> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|(key, _)| key.text == name).map(|(key, node)| (key.at, node))
}

/// Where a setting of the deployment stands: its name, its value.
fn setting_place(root: &Node, name: &str) -> Option<(Position, Position)> {
    let (_, gateway) = entry(root, "gateway")?;
    let (_, settings) = entry(gateway, "settings")?;
    let (at, value) = entry(settings, name)?;
    Some((at, value.at))
}

fn adapter(
    root: &Node,
    load: &mut dyn FnMut(&str) -> Result<String, String>,
    mistakes: &mut Mistakes<'_>,
) -> Option<Adapter> {
    let mut keys = Fields::of(root, "an adapter", mistakes)?;
    version(&mut keys, mistakes);
    let name = keys
        .required("name", "a name has 1 to 40 letters, digits and dashes", mistakes)
        .and_then(|node| fields::name(node, "name", 40, mistakes));
    let process = optional(keys.optional("process"), |node| process(node, mistakes));
    let container = optional(keys.optional("container"), |node| container(node, mistakes));
    if matches!((&process, &container), (Some(None), Some(None))) {
        mistakes
            .add(root.at, "an adapter has no `process` and no `container`; at least one says how a replica is started");
    }
    let obtain = optional(keys.optional("obtain"), |node| fields::text(node, "obtain", 400, mistakes));
    let files = keys.optional("files").map_or_else(|| Some(Default::default()), |node| files(node, load, mistakes));
    let ports = keys
        .required("ports", "name the listening ports, such as `ports: {data: 8080}`", mistakes)
        .and_then(|node| ports(node, mistakes));
    let ready = keys
        .required(
            "ready",
            "say what shows that a replica is ready: `{port: data, path: /ready, status: 200}`",
            mistakes,
        )
        .and_then(|node| probe(node, "`ready`", ports.as_ref(), mistakes));
    let live = optional(keys.optional("live"), |node| probe(node, "`live`", ports.as_ref(), mistakes));
    let reject_status = keys
        .required("rejectStatus", "say with which status over-quota requests are refused", mistakes)
        .and_then(|node| status(node, "rejectStatus", mistakes));
    let reset_unit =
        optional(keys.optional("resetUnit"), |node| fields::word(node, "resetUnit", &RESET_UNITS, mistakes));
    let replica_header = optional(keys.optional("replicaHeader"), |node| header(node, "replicaHeader", mistakes));
    let version_header = optional(keys.optional("versionHeader"), |node| header(node, "versionHeader", mistakes));
    let token = optional(keys.optional("token"), |node| endpoint(node, "token", mistakes));
    let revocation = optional(keys.optional("revocation"), |node| endpoint(node, "revocation", mistakes));
    let (capabilities, lacks) = capabilities(&mut keys, mistakes);
    let settings = keys.optional("settings").map_or_else(|| Some(BTreeMap::new()), |node| settings(node, mistakes));
    let ready_within = keys.optional("readyWithin").map_or(Some(Duration::from_secs(30)), |node| {
        fields::duration(node, "readyWithin", Duration::from_secs(1)..=Duration::from_secs(600), mistakes)
    });
    keys.finish(mistakes);
    let (files, copies) = files?;
    Some(Adapter {
        name: name?,
        folder: String::new(),
        process: process?,
        container: container?,
        obtain: obtain?,
        files,
        copies,
        ports: ports?,
        ready: ready?,
        live: live?,
        reject_status: reject_status?,
        reset_unit: reset_unit?,
        replica_header: replica_header?,
        version_header: version_header?,
        token: token?,
        revocation: revocation?,
        capabilities: capabilities?,
        lacks: lacks?,
        settings: settings?,
        unmet: BTreeMap::new(),
        // At most 600.
        ready_within_s: u32::try_from(ready_within?.as_secs()).unwrap_or(600),
    })
}

/// `Some(None)` for a part that is not there, `None` for one that is wrong.
fn optional<'n, T>(node: Option<&'n Node>, read: impl FnOnce(&'n Node) -> Option<T>) -> Option<Option<T>> {
    node.map_or(Some(None), |node| read(node).map(Some))
}

fn process(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<ProcessStart> {
    let mut keys = Fields::of(node, "`process`", mistakes)?;
    let command = keys
        .required("command", "the program and its arguments", mistakes)
        .and_then(|node| words(node, "command", 1, mistakes));
    let environment = environment(&mut keys, mistakes);
    keys.finish(mistakes);
    Some(ProcessStart { command: command?, environment: environment? })
}

fn container(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<ContainerStart> {
    let mut keys = Fields::of(node, "`container`", mistakes)?;
    let image =
        keys.required("image", "name the image", mistakes).and_then(|node| fields::text(node, "image", 400, mistakes));
    let from_executable = optional(keys.optional("fromExecutable"), |node| template(node, "fromExecutable", mistakes));
    let arguments =
        keys.optional("arguments").map_or_else(|| Some(Vec::new()), |node| words(node, "arguments", 0, mistakes));
    let environment = environment(&mut keys, mistakes);
    let init = keys.optional("init").map_or(Some(false), |node| fields::boolean(node, "init", mistakes));
    keys.finish(mistakes);
    Some(ContainerStart {
        image: image?,
        from_executable: from_executable?,
        arguments: arguments?,
        environment: environment?,
        init: init?,
    })
}

/// A template of one line: compiled, so that its syntax is right.
fn template(node: &Node, key: &str, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let text = fields::text(node, key, 4_000, mistakes)?;
    compiles(key, &text).map_or(Some(text), |wrong| {
        mistakes.add(node.at, wrong);
        None
    })
}

/// What is wrong with a template: its syntax, or a name that no context has.
fn compiles(name: &str, text: &str) -> Option<String> {
    let engine = engine();
    let template = match engine.template_from_named_str(name, text) {
        Ok(template) => template,
        Err(error) => return Some(format!("template `{name}`: {}", why(&error, text))),
    };
    let mut unknown: Vec<String> = template
        .undeclared_variables(false)
        .into_iter()
        .filter(|used| !NAMES.contains(&used.as_str()) && !is_function(&engine, used))
        .collect();
    unknown.sort();
    let first = unknown.first()?;
    let line = line_of(first, text).map(|line| format!(" in line {line}")).unwrap_or_default();
    Some(format!("template `{name}` uses `{first}`{line}, which is not known; known are {}", listed(&NAMES)))
}

/// The first line with the word `name` in it, from 1; lines that have a tag are looked at first, because the engine does
/// not say where it saw a name.
fn line_of(name: &str, text: &str) -> Option<usize> {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let has = |line: &str| line.split(|character| !is_part(character)).any(|word| word == name);
    let with_tag = |line: &str| has(line) && (line.contains("{{") || line.contains("{%"));
    let index = text.lines().position(with_tag).or_else(|| text.lines().position(has))?;
    Some(index.saturating_add(1))
}

/// Whether `name` is one of the engine's own functions (`range`, `dict`, `namespace`).
fn is_function(engine: &minijinja::Environment<'_>, name: &str) -> bool {
    engine.globals().any(|(known, _)| known == name)
}

fn words(node: &Node, key: &str, least: usize, mistakes: &mut Mistakes<'_>) -> Option<Vec<String>> {
    let items = fields::list(node, key, least..=200, "it has", mistakes)?;
    let words: Vec<String> = items.iter().filter_map(|item| template(item, key, mistakes)).collect();
    (words.len() == items.len()).then_some(words)
}

fn environment(keys: &mut Fields<'_>, mistakes: &mut Mistakes<'_>) -> Option<BTreeMap<String, String>> {
    let Some(node) = keys.optional("environment") else { return Some(BTreeMap::new()) };
    let entries = entries(node, "environment", mistakes)?;
    entries
        .iter()
        .map(|(key, node)| {
            let legal = key.text.chars().all(|character| character.is_ascii_alphanumeric() || character == '_');
            if !legal || key.text.is_empty() {
                mistakes
                    .add(key.at, format!("environment variable `{}` has a name of letters, digits and `_`", key.text));
                return None;
            }
            Some((key.text.clone(), template(node, &key.text, mistakes)?))
        })
        .collect::<Vec<_>>()
        .into_iter()
        .collect()
}

/// The entries of a map whose keys are the user's own.
fn entries<'n>(node: &'n Node, what: &str, mistakes: &mut Mistakes<'_>) -> Option<&'n [(tree::Key, Node)]> {
    let Value::Map(entries) = &node.value else {
        mistakes.add(node.at, format!("`{what}` is a map of names and values, not {}", node.value.kind()));
        return None;
    };
    fields::distinct(entries.iter().map(|(key, _)| (&key.text, key.at)), what, mistakes);
    Some(entries)
}

fn files(
    node: &Node,
    load: &mut dyn FnMut(&str) -> Result<String, String>,
    mistakes: &mut Mistakes<'_>,
) -> Option<(Vec<FileTemplate>, Vec<FileCopy>)> {
    let items = fields::list(node, "files", 0..=100, "an adapter has", mistakes)?;
    let (mut files, mut copies) = (Vec::new(), Vec::new());
    let mut paths = Vec::new();
    for item in items {
        let Some(mut keys) = Fields::of(item, "a file", mistakes) else { continue };
        let path = keys
            .required("path", "where it is written, relative to the replica's files", mistakes)
            .and_then(|node| relative_path(node, "path", mistakes));
        let inline = keys.optional("text");
        let named = keys.optional("template");
        let copied = keys.optional("copy");
        let when = keys.optional("when");
        let place = item.at;
        keys.finish(mistakes);
        paths.extend(path.clone().map(|path| (path, place)));
        if let (Some(when), None) = (when, copied) {
            mistakes
                .add(when.at, "`when` is for a file that is a `copy`; a template says it by itself, with `{% if %}`");
            continue;
        }
        let loaded = match (inline, named, copied) {
            (Some(text), None, None) => {
                fields::text(text, "text", crate::input::MAX_BYTES, mistakes).map(|written| (text.at, written, None))
            }
            (None, Some(name), None) => relative_path(name, "template", mistakes).and_then(|file| match load(&file) {
                Ok(written) => Some((name.at, written, Some(file))),
                Err(reason) => {
                    mistakes.add(name.at, format!("template `{file}` cannot be read: {reason}"));
                    None
                }
            }),
            (None, None, Some(copied)) => {
                let copy = template(copied, "copy", mistakes);
                let when = optional(when, |node| condition(node, mistakes));
                if let (Some(path), Some(copy), Some(when)) = (path, copy, when) {
                    copies.push(FileCopy { path, copy, when });
                }
                continue;
            }
            _ => {
                mistakes.add(
                    place,
                    "a file has one of `text`, `template` (a file beside the adapter) and `copy` (a file of this machine, as it is)",
                );
                None
            }
        };
        let (Some(path), Some((at, template, source))) = (path, loaded) else { continue };
        let file = FileTemplate { path, template, source };
        if let Some(wrong) = compiles(file.called(), &file.template) {
            mistakes.add(at, wrong);
            continue;
        }
        files.push(file);
    }
    fields::distinct(paths.into_iter(), "file", mistakes);
    (files.len().saturating_add(copies.len()) == items.len()).then_some((files, copies))
}

/// An expression over what templates see.
fn condition(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let text = fields::text(node, "when", 400, mistakes)?;
    let wrong = match engine().compile_expression(&text) {
        Err(error) => Some(format!("`when`: {}", why(&error, &text))),
        Ok(_) => compiles("when", &format!("{{{{ {text} }}}}")),
    };
    let Some(wrong) = wrong else { return Some(text) };
    mistakes.add(node.at, wrong);
    None
}

/// A path that stays where it is put: relative, without `..`.
fn relative_path(node: &Node, key: &str, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let written = fields::text(node, key, 400, mistakes)?;
    let stays = written.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        && !written.contains(|character: char| character.is_control() || character == '\\');
    if stays {
        return Some(written);
    }
    mistakes.add(
        node.at,
        format!("`{key}` is {}; it must be a relative path without `.`, `..` and empty parts", node.value.kind()),
    );
    None
}

fn ports(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<BTreeMap<String, u16>> {
    let entries = entries(node, "ports", mistakes)?;
    let mut ports = BTreeMap::new();
    for (key, node) in entries {
        if let Some(port) = fields::whole(node, &key.text, 1..=65_535, "legal are", mistakes) {
            ports.insert(key.text.clone(), u16::try_from(port).unwrap_or(u16::MAX));
        }
    }
    fields::distinct(
        entries.iter().filter_map(|(key, node)| Some((*ports.get(&key.text)?, node.at))),
        "port",
        mistakes,
    );
    if !entries.iter().any(|(key, _)| key.text == "data") {
        mistakes.add(node.at, "`ports` has no `data`; it is where requests of clients arrive");
        return None;
    }
    (ports.len() == entries.len()).then_some(ports)
}

fn probe(node: &Node, what: &str, ports: Option<&BTreeMap<String, u16>>, mistakes: &mut Mistakes<'_>) -> Option<Probe> {
    let mut keys = Fields::of(node, what, mistakes)?;
    let port = keys.required("port", "one of `ports` by name", mistakes).and_then(|node| {
        let port = fields::text(node, "port", 40, mistakes)?;
        if let Some(ports) = ports
            && !ports.contains_key(&port)
        {
            let known: Vec<&String> = ports.keys().collect();
            mistakes.add(node.at, format!("`port` is `{port}`; known are {}", listed(&known)));
            return None;
        }
        Some(port)
    });
    let path = keys.required("path", "a path begins with `/`", mistakes).and_then(|node| url_path(node, mistakes));
    let status = keys.optional("status").map_or(Some(200), |node| status(node, "status", mistakes));
    keys.finish(mistakes);
    Some(Probe { port: port?, path: path?, status: status? })
}

fn url_path(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let written = fields::text(node, "path", 400, mistakes)?;
    if written.starts_with('/') && written.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(written);
    }
    mistakes.add(node.at, format!("`path` is {}; a path begins with `/`", node.value.kind()));
    None
}

fn status(node: &Node, key: &str, mistakes: &mut Mistakes<'_>) -> Option<u16> {
    let status = fields::whole(node, key, 100..=599, "legal are", mistakes)?;
    u16::try_from(status).ok()
}

fn header(node: &Node, key: &str, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let written = fields::text(node, key, 100, mistakes)?;
    if written.chars().all(|character| character.is_ascii_alphanumeric() || character == '-' || character == '_') {
        return Some(written.to_ascii_lowercase());
    }
    mistakes.add(node.at, format!("`{key}` is {}; a header has letters, digits, `-` and `_`", node.value.kind()));
    None
}

fn endpoint(node: &Node, key: &str, mistakes: &mut Mistakes<'_>) -> Option<Endpoint> {
    let mut keys = Fields::of(node, &format!("`{key}`"), mistakes)?;
    let path = keys.required("path", "a path begins with `/`", mistakes).and_then(|node| url_path(node, mistakes));
    keys.finish(mistakes);
    Some(Endpoint { path: path? })
}

/// What it can do, and why it lacks the rest: each capability is in exactly one of the two.
fn capabilities(
    keys: &mut Fields<'_>,
    mistakes: &mut Mistakes<'_>,
) -> (Option<Vec<Capability>>, Option<BTreeMap<Capability, String>>) {
    let has = keys.required("capabilities", "say what the gateway can do", mistakes).and_then(|node| {
        let items = fields::list(node, "capabilities", 0..=CAPABILITIES.len(), "an adapter has", mistakes)?;
        let found: Vec<Capability> =
            items.iter().filter_map(|item| fields::word(item, "capabilities", &CAPABILITIES, mistakes)).collect();
        (found.len() == items.len()).then_some(found)
    });
    let mut lacks = BTreeMap::new();
    let mut legal = true;
    if let Some(node) = keys.optional("lacks") {
        let listed_names = CAPABILITIES.map(|(word, _)| word);
        for (key, reason) in entries(node, "lacks", mistakes).unwrap_or_default() {
            let Some((_, capability)) = CAPABILITIES.iter().find(|(word, _)| *word == key.text) else {
                mistakes.add(key.at, format!("unknown capability `{}`; known are {}", key.text, listed(&listed_names)));
                legal = false;
                continue;
            };
            if has.as_ref().is_some_and(|has| has.contains(capability)) {
                mistakes.add(key.at, format!("`{}` is in `capabilities` and in `lacks`", key.text));
            }
            match fields::text(reason, &key.text, 400, mistakes) {
                Some(reason) => drop(lacks.insert(*capability, reason)),
                None => legal = false,
            }
        }
    }
    if let (Some(has), true) = (&has, legal) {
        let silent: Vec<&str> = CAPABILITIES
            .iter()
            .filter(|(_, capability)| !has.contains(capability) && !lacks.contains_key(capability))
            .map(|(word, _)| *word)
            .collect();
        if !silent.is_empty() {
            mistakes.add(
                keys.place("capabilities"),
                format!("neither `capabilities` nor `lacks` (with a reason) says anything of {}", listed(&silent)),
            );
        }
    }
    (has, legal.then_some(lacks))
}

fn settings(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<BTreeMap<String, Setting>> {
    let entries = entries(node, "settings", mistakes)?;
    let mut settings = BTreeMap::new();
    for (key, node) in entries {
        let Some(mut keys) = Fields::of(node, &format!("setting `{}`", key.text), mistakes) else { continue };
        let default = optional(keys.optional("default"), |node| fields::scalar(node, "default", mistakes));
        let words = keys.optional("words").map_or_else(|| Some(Vec::new()), |node| words(node, "words", 1, mistakes));
        let help = keys
            .required("help", "one line that says what it is for", mistakes)
            .and_then(|node| fields::text(node, "help", 400, mistakes));
        let (needs, obtain) = (keys.optional("needs"), keys.optional("obtain"));
        if let (None, Some(obtain)) = (needs, obtain) {
            mistakes.add(obtain.at, "`obtain` is for a setting that has `needs`: it says how to get that file");
        }
        let needs = optional(needs, |node| template(node, "needs", mistakes));
        let obtain = optional(obtain, |node| fields::text(node, "obtain", 400, mistakes));
        let place = keys.place("default");
        keys.finish(mistakes);
        let (Some(default), Some(words), Some(needs), Some(obtain), Some(help)) = (default, words, needs, obtain, help)
        else {
            continue;
        };
        let setting = Setting { default, words, needs, obtain, help };
        if let Some(default) = &setting.default
            && let Some(expected) = setting.refuses(default)
        {
            mistakes.add(place, format!("`default` is {}; {expected}", shown(default)));
        }
        settings.insert(key.text.clone(), setting);
    }
    (settings.len() == entries.len()).then_some(settings)
}

#[cfg(test)]
mod tests {
    use super::{Adapter, parse};
    use crate::deployment;
    use crate::profile::Scalar;
    use std::collections::BTreeMap;
    use test_case::test_case;

    const LACKS: &str = "lacks: {token-issue: x, token-rekey: x, token-revocation: x, quota: x, shared-store: x, control-plane: x, configuration-version: x, configuration-choice: x, contracts: x}\n";
    const BASE: &str = "version: \"1.0\"\nname: mine\nprocess: {command: [mine]}\nports: {data: 8080, admin: 8081}\nready: {port: admin, path: /ready}\nrejectStatus: 503\ncapabilities: [tokens]\n";

    fn read(text: &str) -> Result<Adapter, String> {
        parse("mine.yaml", text, &mut |path| match path {
            "good.j2" => Ok("{{ replica.name }}".to_owned()),
            "bad.j2" => Ok("ok\n{% if %}".to_owned()),
            "unknown.j2" => Ok("replicas:\n{{ replicas }}".to_owned()),
            _ => Err("no such file".to_owned()),
        })
        .map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_filled_in() {
        let adapter = read(&format!("{BASE}{LACKS}")).unwrap();
        assert_eq!((adapter.ready.status, adapter.ready_within_s), (200, 30));
        assert_eq!((adapter.token, adapter.container), (None, None));
        assert_eq!(adapter.lacks.len(), 9);
    }

    #[test_case("process: {command: [mine]}", "process: {command: []}", "3:20: `command` is empty" ; "empty command")]
    #[test_case("process: {command: [mine]}\n", "", "1:1: an adapter has no `process` and no `container`" ; "no start")]
    #[test_case("[mine]", "[\"{{ x\"]", "template `command`: line 1" ; "template syntax in a command")]
    #[test_case("[mine]", "[\"{{ nam }}\"]", "template `command` uses `nam` in line 1, which is not known; known are `replica`, `listen`" ; "unknown name in a command")]
    #[test_case("data: 8080, ", "", "`ports` has no `data`" ; "no data port")]
    #[test_case("8081", "8080", "port `8080` is there twice" ; "same port")]
    #[test_case("8081", "80801", "`admin` is 80801; legal are 1 to 65535" ; "port out of range")]
    #[test_case("port: admin", "port: adm", "5:15: `port` is `adm`; known are `admin` and `data`" ; "unknown port")]
    #[test_case("/ready", "ready", "`path` is `ready`; a path begins with `/`" ; "path")]
    #[test_case("503", "99", "6:15: `rejectStatus` is 99; legal are 100 to 599" ; "status")]
    #[test_case("[tokens]", "[tokens, magic]", "`capabilities` is `magic`; known are `tokens`, `token-issue`" ; "unknown capability")]
    #[test_case("contracts: x", "contract: x", "unknown capability `contract`; known are" ; "unknown lack")]
    #[test_case(", contracts: x", "", "neither `capabilities` nor `lacks` (with a reason) says anything of `contracts`" ; "silent about contracts")]
    #[test_case("contracts: x", "contracts: x, tokens: x", "`tokens` is in `capabilities` and in `lacks`" ; "both")]
    #[test_case("rejectStatus: 503\n", "rejectStatus: 503\nfiles: [{path: ../x, text: a}]\n", "`path` is `../x`; it must be a relative path" ; "path that leaves")]
    #[test_case("rejectStatus: 503\n", "rejectStatus: 503\nfiles: [{path: x}]\n", "a file has one of `text`, `template` (a file beside the adapter) and `copy`" ; "file without text")]
    #[test_case("rejectStatus: 503\n", "rejectStatus: 503\nfiles: [{path: x, text: a, copy: b}]\n", "7:9: a file has one of `text`, `template`" ; "text and copy")]
    #[test_case("rejectStatus: 503\n", "rejectStatus: 503\nfiles: [{path: x, text: a, when: scale}]\n", "7:34: `when` is for a file that is a `copy`" ; "text with when")]
    #[test_case("rejectStatus: 503\n", "rejectStatus: 503\nfiles: [{path: x, copy: b, when: scale ==}]\n", "7:34: `when`:" ; "when that is no expression")]
    #[test_case("rejectStatus: 503\n", "rejectStatus: 503\nfiles: [{path: x, copy: b, when: seting.x}]\n", "template `when` uses `seting` in line 1, which is not known" ; "when with an unknown name")]
    #[test_case("rejectStatus: 503\n", "rejectStatus: 503\nsettings: {mode: {needs: \"{{ tool }}\", help: x}}\n", "template `needs` uses `tool` in line 1" ; "needs with an unknown name")]
    #[test_case("rejectStatus: 503\n", "rejectStatus: 503\nfiles: [{path: x, template: none.j2}]\n", "template `none.j2` cannot be read: no such file" ; "missing template")]
    #[test_case("rejectStatus: 503\n", "rejectStatus: 503\nfiles: [{path: x, template: bad.j2}]\n", "template `bad.j2`: line 2: " ; "bad template")]
    #[test_case("rejectStatus: 503\n", "rejectStatus: 503\nfiles: [{path: x, template: unknown.j2}]\n", "template `unknown.j2` uses `replicas` in line 2, which is not known" ; "template with an unknown name")]
    #[test_case("rejectStatus: 503\n", "rejectStatus: 503\nsettings: {mode: {default: fast, words: [slow], help: x}}\n", "`default` is `fast`; known are `slow`" ; "default that is no word")]
    #[test_case("rejectStatus: 503\n", "rejectStatus: 503\nsettings: {mode: {default: fast}}\n", "setting `mode` has no `help`" ; "no help")]
    #[test_case("rejectStatus: 503\n", "rejectStatus: 503\nreadyWithin: 1\n", "`readyWithin` is 1; a duration is" ; "duration")]
    #[test_case("rejectStatus: 503\n", "rejectStatus: 503\nsettings: {mode: {obtain: make it, help: x}}\n", "7:27: `obtain` is for a setting that has `needs`" ; "obtain without needs")]
    #[test_case("name: mine", "nam: mine", "2:1: unknown key `nam` in an adapter" ; "unknown key")]
    #[test_case("rejectStatus: 503\n", "rejectStatus: 503\nobtain: [make]\n", "7:9: `obtain`" ; "obtain that is no text")]
    fn mistakes(from: &str, to: &str, expected: &str) {
        let text = format!("{BASE}{LACKS}");
        assert!(text.contains(from), "{from} is not in the text");
        let error = read(&text.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(expected), "{error}\n--- lacks\n{expected}");
    }

    #[test]
    fn templates_come_inline_or_from_files() {
        let adapter = read(&format!(
            "{BASE}{LACKS}files: [{{path: a/b, template: good.j2}}, {{path: c, text: \"{{{{ disk }}}}\"}}]\n"
        ))
        .unwrap();
        assert_eq!(adapter.files[0].template, "{{ replica.name }}");
        assert_eq!(adapter.files[1].template, "{{ disk }}");
        assert_eq!((adapter.files[0].called(), adapter.files[1].called()), ("good.j2", "c"));
    }

    #[test]
    fn a_setting_that_needs_a_file_is_unmet_where_that_is_missing() {
        let setting = "{default: 0, needs: \"{{ tools }}/lib.so\", obtain: fetch it, help: x}";
        let mut adapter = read(&format!("{BASE}{LACKS}settings: {{clock: {setting}, other: {{help: x}}}}\n")).unwrap();
        assert!(adapter.unmet.is_empty());
        adapter.look_around("/tools", |place| place == "/tools/lib.so").unwrap();
        assert!(adapter.unmet.is_empty(), "{:?}", adapter.unmet);
        adapter.look_around("/tools", |_| false).unwrap();
        let why = "the setting `clock` needs `/tools/lib.so`, which is not there: fetch it";
        assert_eq!(adapter.unmet, BTreeMap::from([("clock".to_owned(), why.to_owned())]));
        let setting = "{needs: \"{{ replica.name }}\", help: x}";
        let mut adapter = read(&format!("{BASE}{LACKS}settings: {{clock: {setting}}}\n")).unwrap();
        let error = adapter.look_around("/tools", |_| true).unwrap_err().to_string();
        assert!(error.starts_with("template `needs of clock`: line 1: undefined value"), "{error}");
    }

    fn with_settings(settings: &str) -> (String, deployment::Deployment) {
        let text = format!(
            "version: \"1.0\"\nname: edge\nprofile: a\ngateway:\n  adapter: x\n  settings:\n{settings}sites: [{{name: eu, replicas: 1}}]\n"
        );
        let deployment = deployment::yaml::parse("edge.yaml", &text).unwrap();
        (text, deployment)
    }

    const SETTINGS: &str = "settings: {mode: {default: slow, words: [slow, fast], help: x}, size: {default: 3, help: x}, free: {help: x}}\n";

    #[test]
    fn settings_of_a_deployment_are_held_to_the_adapter() {
        let adapter = read(&format!("{BASE}{LACKS}{SETTINGS}")).unwrap();
        let (text, deployment) = with_settings("    mode: quick\n    size: \"3\"\n    color: red\n    free: 7\n");
        let error = adapter.check_settings(&deployment, "edge.yaml", &text).unwrap_err().to_string();
        assert!(error.contains("edge.yaml:7:11: setting `mode` is `quick`; known are `slow` and `fast`"), "{error}");
        assert!(error.contains("edge.yaml:8:11: setting `size` is `3`; it must be a number"), "{error}");
        assert!(
            error.contains("edge.yaml:9:5: adapter `mine` has no setting `color`; known are `free`, `mode` and `size`"),
            "{error}"
        );
        assert!(!error.contains("`free` is"), "{error}");
        let error = adapter.check_settings(&deployment, "edge.yaml", "").unwrap_err().to_string();
        assert!(error.contains("edge.yaml:1:1: setting `mode`"), "{error}");
    }

    #[test]
    fn a_group_needs_a_port_for_its_gateways() {
        let text = "version: \"1.0\"\nname: edge\nprofile: a\ngateway: {adapter: mine}\nsites: [{name: eu, replicas: 3}]\npeering: {}\n";
        let deployment = deployment::yaml::parse("edge.yaml", text).unwrap();
        let adapter = read(&format!("{BASE}{LACKS}")).unwrap();
        let error = adapter.check_settings(&deployment, "edge.yaml", text).unwrap_err().to_string();
        assert!(error.contains("edge.yaml:6:1: adapter `mine` has no port `peer`"), "{error}");
        let with_port = read(&format!("{BASE}{LACKS}").replace("admin: 8081", "admin: 8081, peer: 8082")).unwrap();
        with_port.check_settings(&deployment, "edge.yaml", text).unwrap();
    }

    #[test]
    fn settings_are_defaults_then_the_deployment_then_overrides() {
        let adapter = read(&format!("{BASE}{LACKS}{SETTINGS}")).unwrap();
        let (text, deployment) = with_settings("    size: 4\n");
        adapter.check_settings(&deployment, "edge.yaml", &text).unwrap();
        let settings = adapter.settings_of(&deployment, &BTreeMap::from([("free".to_owned(), Scalar::Boolean(true))]));
        assert_eq!(settings["mode"], Scalar::Text("slow".to_owned()));
        assert_eq!(settings["size"], Scalar::Number(4.0));
        assert_eq!(settings["free"], Scalar::Boolean(true));
    }
}
