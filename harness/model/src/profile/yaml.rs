//! Profiles as written: YAML to the checked form.

use super::{Basis, Declaration, DeclaredAs, Profile, Scalar};
use crate::adapter::render::{engine, why};
use crate::claim::{ClaimId, Parameter, Value as Default};
use crate::deployment::yaml::version;
use crate::input::fields::{self, Fields};
use crate::input::tree::{self, Key, Node, Value};
use crate::input::{InputError, Mistakes, listed};
use crate::verdict::Declared;
use std::collections::BTreeMap;

const DECLARED: [(&str, Declared); 3] =
    [("holds", Declared::Holds), ("does-not-hold", Declared::DoesNotHold), ("not-applicable", Declared::NotApplicable)];
const BASES: [(&str, Basis); 2] = [("documented", Basis::Documented), ("expected", Basis::Expected)];
/// The names that conditions may use.
const NAMES: [&str; 10] = [
    "settings",
    "store",
    "storeScope",
    "storeFailover",
    "sites",
    "replicas",
    "zones",
    "platform",
    "autoscale",
    "peering",
];

/// The profile that `text` describes. `known_claims` are the claims that exist, each with its parameters.
///
/// # Errors
/// Every mistake with its place in `text`, which is called `source_name` in the messages.
pub fn parse(source_name: &str, text: &str, known_claims: &[(&str, &[Parameter])]) -> Result<Profile, InputError> {
    let root = tree::read(source_name, text)?;
    let mut mistakes = Mistakes::new(source_name, text);
    let profile = profile(&root, known_claims, &mut mistakes);
    mistakes.finish(profile)
}

fn profile(root: &Node, known: &[(&str, &[Parameter])], mistakes: &mut Mistakes<'_>) -> Option<Profile> {
    let mut keys = Fields::of(root, "a profile", mistakes)?;
    version(&mut keys, mistakes);
    let name = keys
        .required("name", "a name has 1 to 40 letters, digits and dashes", mistakes)
        .and_then(|node| fields::name(node, "name", 40, mistakes));
    let product = keys
        .required("product", "the product, with the version of the documents that the declarations come from", mistakes)
        .and_then(|node| fields::text(node, "product", 400, mistakes));
    let most = u32::try_from(known.len()).unwrap_or(u32::MAX);
    let minimum_judged = keys
        .required("minimumJudged", "the least number of judged claims for a certificate", mistakes)
        .and_then(|node| fields::whole(node, "minimumJudged", 1..=most, "legal are", mistakes));
    let claims = keys
        .required("claims", "declare each claim: `QUO-01: {declared: holds, basis: documented, source: ...}`", mistakes)
        .and_then(|node| claims(node, known, mistakes));
    keys.finish(mistakes);
    Some(Profile { name: name?, product: product?, minimum_judged: minimum_judged?, claims: claims? })
}

fn claims(
    node: &Node,
    known: &[(&str, &[Parameter])],
    mistakes: &mut Mistakes<'_>,
) -> Option<BTreeMap<ClaimId, Declaration>> {
    let Value::Map(entries) = &node.value else {
        mistakes.add(node.at, format!("`claims` is a map of claim ids and declarations, not {}", node.value.kind()));
        return None;
    };
    fields::distinct(entries.iter().map(|(key, _)| (&key.text, key.at)), "claim", mistakes);
    let mut claims = BTreeMap::new();
    for (key, node) in entries {
        let found = known.iter().find(|(id, _)| *id == key.text);
        if found.is_none() {
            mistakes.add(key.at, unknown_claim(&key.text, known));
        }
        // The declaration is read even so: its own mistakes are told too.
        let declaration = declaration(key, node, found.map(|(_, parameters)| *parameters), mistakes);
        if let (Some(declaration), Some(_)) = (declaration, found) {
            claims.insert(ClaimId::new(&key.text), declaration);
        }
    }
    (claims.len() == entries.len()).then_some(claims)
}

/// Says which claims there are, of the same family if there is one.
fn unknown_claim(written: &str, known: &[(&str, &[Parameter])]) -> String {
    let shown: String = written.chars().take(40).collect();
    let family = written.split('-').next().unwrap_or_default().to_ascii_uppercase();
    let of_family: Vec<&str> =
        known.iter().map(|(id, _)| *id).filter(|id| id.split('-').next() == Some(family.as_str())).collect();
    if of_family.is_empty() {
        let mut families: Vec<&str> = known.iter().filter_map(|(id, _)| id.split('-').next()).collect();
        families.sort_unstable();
        families.dedup();
        return format!("claim `{}` does not exist (families: {})", shown.escape_debug(), families.join(", "));
    }
    let word = match family.as_str() {
        "TOK" => "token",
        "QUO" => "quota",
        "CFG" => "configuration",
        "CON" => "contract",
        "SEC" => "security",
        "LAT" => "latency",
        other => other,
    };
    format!("claim `{}` does not exist ({word} claims: {})", shown.escape_debug(), of_family.join(", "))
}

fn declaration(
    key: &Key,
    node: &Node,
    known: Option<&[Parameter]>,
    mistakes: &mut Mistakes<'_>,
) -> Option<Declaration> {
    let mut keys = Fields::of(node, &format!("`{}`", key.text), mistakes)?;
    let always = keys.optional("declared");
    let when = keys.optional("when");
    let then = keys.optional("then");
    let otherwise = keys.optional("otherwise");
    let declared = match (always, when) {
        (Some(declared), None) => {
            for (name, extra) in [("then", then), ("otherwise", otherwise)] {
                if let Some(extra) = extra {
                    mistakes
                        .add(extra.at, format!("`{name}` needs a `when`; `declared` is the same for every deployment"));
                }
            }
            fields::word(declared, "declared", &DECLARED, mistakes).map(DeclaredAs::Always)
        }
        (None, Some(when)) => {
            let condition = condition(when, mistakes);
            let mut arm = |name: &str, arm: Option<&Node>| {
                let Some(node) = arm else {
                    let words = DECLARED.map(|(word, _)| word);
                    mistakes.add(when.at, format!("`when` needs `{name}`; known are {}", listed(&words)));
                    return None;
                };
                fields::word(node, name, &DECLARED, mistakes)
            };
            let then = arm("then", then);
            let otherwise = arm("otherwise", otherwise);
            match (condition, then, otherwise) {
                (Some(condition), Some(then), Some(otherwise)) => Some(DeclaredAs::When { condition, then, otherwise }),
                _ => None,
            }
        }
        (Some(_), Some(_)) | (None, None) => {
            mistakes
                .add(key.at, format!("`{}` has either `declared`, or `when` with `then` and `otherwise`", key.text));
            None
        }
    };
    let promises = match &declared {
        Some(DeclaredAs::Always(declared)) => *declared == Declared::Holds,
        Some(DeclaredAs::When { .. }) => true,
        None => false,
    };
    let basis = match keys.optional("basis") {
        Some(node) => fields::word(node, "basis", &BASES, mistakes),
        None if promises => {
            mistakes.add(
                key.at,
                format!("`{}` has no `basis`; known are `documented` (the vendor says so) and `expected`", key.text),
            );
            None
        }
        // A limit, or that there is nothing, is always somebody's statement.
        None => Some(Basis::Documented),
    };
    let source = match keys.optional("source") {
        Some(node) => fields::text(node, "source", 1_000, mistakes),
        None if basis == Some(Basis::Documented) => {
            mistakes.add(key.at, format!("`{}` has no `source`; say which document says so, or why", key.text));
            None
        }
        None => Some(String::new()),
    };
    let parameters = match keys.optional("parameters") {
        Some(node) => parameters(node, &key.text, known, mistakes),
        None => Some(BTreeMap::new()),
    };
    keys.finish(mistakes);
    Some(Declaration { declared: declared?, basis: basis?, source: source?, parameters: parameters? })
}

/// An expression that compiles and uses known names only.
fn condition(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let text = fields::text(node, "when", 400, mistakes)?;
    let engine = engine();
    let expression = match engine.compile_expression(&text) {
        Ok(expression) => expression,
        Err(error) => {
            mistakes.add(node.at, format!("`when` is not an expression: {}", why(&error, &text)));
            return None;
        }
    };
    let mut unknown: Vec<String> =
        expression.undeclared_variables(false).into_iter().filter(|name| !NAMES.contains(&name.as_str())).collect();
    unknown.sort();
    if let Some(first) = unknown.first() {
        mistakes.add(node.at, format!("`when` uses `{first}`, which is not known; known are {}", listed(&NAMES)));
        return None;
    }
    drop(expression);
    Some(text)
}

fn parameters(
    node: &Node,
    claim: &str,
    known: Option<&[Parameter]>,
    mistakes: &mut Mistakes<'_>,
) -> Option<BTreeMap<String, Scalar>> {
    let Value::Map(entries) = &node.value else {
        mistakes.add(node.at, format!("`parameters` is a map of names and values, not {}", node.value.kind()));
        return None;
    };
    fields::distinct(entries.iter().map(|(key, _)| (&key.text, key.at)), "parameter", mistakes);
    let known = known?;
    let mut parameters = BTreeMap::new();
    for (key, node) in entries {
        let Some(parameter) = known.iter().find(|parameter| parameter.name == key.text) else {
            let names: Vec<&str> = known.iter().map(|parameter| parameter.name).collect();
            mistakes.add(key.at, format!("{claim} has no parameter `{}`; known are {}", key.text, listed(&names)));
            continue;
        };
        if let Some(value) = parameter_value(parameter, claim, node, mistakes) {
            parameters.insert(key.text.clone(), value);
        }
    }
    (parameters.len() == entries.len()).then_some(parameters)
}

/// What a parameter is measured in.
enum Unit {
    Seconds,
    Millis,
    Number,
    Word,
}

fn unit(parameter: &Parameter) -> Unit {
    match parameter.default {
        Some(Default::Seconds(_)) => Unit::Seconds,
        Some(Default::Millis(_)) => Unit::Millis,
        Some(Default::Number(_)) => Unit::Number,
        Some(Default::Word(_)) => Unit::Word,
        None if parameter.words.is_empty() => Unit::Number,
        None => Unit::Word,
    }
}

fn parameter_value(parameter: &Parameter, claim: &str, node: &Node, mistakes: &mut Mistakes<'_>) -> Option<Scalar> {
    let name = format!("{}.{}", claim.to_ascii_lowercase().replace('-', "_"), parameter.name);
    let number = match (unit(parameter), &node.value) {
        (Unit::Word, Value::Text(word)) if parameter.words.contains(&word.as_str()) || setting_of(word).is_some() => {
            return Some(Scalar::Text(word.clone()));
        }
        (Unit::Word, _) => {
            mistakes.add(
                node.at,
                format!(
                    "`{name}` is {}; known are {}, or a setting of the deployment: `settings.NAME`",
                    node.value.kind(),
                    listed(parameter.words)
                ),
            );
            return None;
        }
        // Whether the setting is a number is known with the deployment only.
        (Unit::Seconds | Unit::Millis | Unit::Number, Value::Text(word)) if setting_of(word).is_some() => {
            return Some(Scalar::Text(word.clone()));
        }
        (Unit::Seconds, Value::Text(written)) => fields::parse_duration(written).map(|duration| duration.as_secs_f64()),
        (Unit::Millis, Value::Text(written)) => {
            fields::parse_duration(written).map(|duration| duration.as_secs_f64() * 1_000.0)
        }
        (Unit::Number, Value::Number(number)) => Some(*number),
        (Unit::Seconds | Unit::Millis | Unit::Number, _) => None,
    };
    match number {
        Some(number) if number >= parameter.min && number <= parameter.max => return Some(Scalar::Number(number)),
        Some(_) => mistakes.add(
            node.at,
            format!(
                "`{name}` is {}; legal are {} to {}",
                node.value.kind(),
                in_unit(parameter, parameter.min),
                in_unit(parameter, parameter.max)
            ),
        ),
        None => mistakes.add(
            node.at,
            match unit(parameter) {
                Unit::Number | Unit::Word => format!("`{name}` is {}; it must be a number", node.value.kind()),
                Unit::Seconds | Unit::Millis => format!(
                    "`{name}` is {}; a duration is a number and a unit: `500ms`, `10s`, `1m`, `1h`",
                    node.value.kind()
                ),
            },
        ),
    }
    None
}

fn in_unit(parameter: &Parameter, number: f64) -> String {
    match unit(parameter) {
        Unit::Seconds => format!("{number}s"),
        Unit::Millis => format!("{number}ms"),
        Unit::Number | Unit::Word => number.to_string(),
    }
}

/// The setting that a parameter takes its value from: `settings.NAME`.
pub(super) fn setting_of(word: &str) -> Option<&str> {
    word.strip_prefix("settings.").filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::claim::{ClaimId, Parameter, Value};
    use crate::deployment::{self, Deployment};
    use crate::profile::{Basis, Profile, Scalar};
    use crate::verdict::Declared;
    use std::collections::BTreeMap;
    use test_case::test_case;

    const fn parameter(name: &'static str, default: Option<Value>, words: &'static [&'static str]) -> Parameter {
        Parameter { name, default, min: 0.5, max: 60.0, words, help: "" }
    }
    const QUOTA: [Parameter; 4] = [
        parameter("window", Some(Value::Seconds(10.0)), &[]),
        parameter("delay", Some(Value::Millis(10.0)), &[]),
        parameter("e", Some(Value::Number(1.0)), &[]),
        parameter("mode", None, &["closed", "local"]),
    ];
    const KNOWN: [(&str, &[Parameter]); 3] = [("QUO-01", &QUOTA), ("QUO-02", &[]), ("CFG-02/b", &[])];
    const HEAD: &str = "version: \"1.0\"\nname: mine\nproduct: Mine 1.0\nminimumJudged: 1\nclaims:\n";

    fn read(claims: &str) -> Result<Profile, String> {
        parse("mine.yaml", &format!("{HEAD}{claims}"), &KNOWN).map_err(|error| error.to_string())
    }

    #[test]
    fn declarations_are_read() {
        let profile = read(
            "  QUO-01: {declared: holds, basis: documented, source: page 3, parameters: {window: 1m, delay: 20ms, e: 2, mode: local}}\n\
             \x20 QUO-02: {declared: does-not-hold, source: page 4}\n\
             \x20 CFG-02/b: {declared: holds, basis: expected}\n",
        )
        .unwrap();
        let quota = &profile.claims[&ClaimId::new("QUO-01")];
        assert_eq!(quota.basis, Basis::Documented);
        assert_eq!(
            quota.parameters,
            BTreeMap::from([
                ("window".to_owned(), Scalar::Number(60.0)),
                ("delay".to_owned(), Scalar::Number(20.0)),
                ("e".to_owned(), Scalar::Number(2.0)),
                ("mode".to_owned(), Scalar::Text("local".to_owned())),
            ])
        );
        assert_eq!(profile.claims[&ClaimId::new("CFG-02/b")].source, "");
    }

    #[test_case("  QUO-09: {declared: holds, basis: expected}", "6:3: claim `QUO-09` does not exist (quota claims: QUO-01, QUO-02)" ; "unknown claim")]
    #[test_case("  ABC-01: {declared: holds, basis: expected}", "claim `ABC-01` does not exist (families: CFG, QUO)" ; "unknown family")]
    #[test_case("  quo-01: {declared: holds, basis: expected}", "claim `quo-01` does not exist (quota claims: QUO-01, QUO-02)" ; "lower case")]
    #[test_case("  QUO-01: {declared: maybe, basis: expected}", "6:22: `declared` is `maybe`; known are `holds`, `does-not-hold` and `not-applicable`" ; "declared")]
    #[test_case("  QUO-01: {basis: expected}", "`QUO-01` has either `declared`, or `when` with `then` and `otherwise`" ; "nothing declared")]
    #[test_case("  QUO-01: {declared: holds}", "6:3: `QUO-01` has no `basis`; known are `documented`" ; "no basis")]
    #[test_case("  QUO-01: {declared: holds, basis: documented}", "`QUO-01` has no `source`" ; "no source")]
    #[test_case("  QUO-01: {declared: not-applicable}", "`QUO-01` has no `source`" ; "no reason")]
    #[test_case("  QUO-01: {declared: holds, basis: expected, parameters: {window: 2h}}", "`quo_01.window` is `2h`; legal are 0.5s to 60s" ; "window out of range")]
    #[test_case("  QUO-01: {declared: holds, basis: expected, parameters: {window: 10}}", "`quo_01.window` is 10; a duration is" ; "window without a unit")]
    #[test_case("  QUO-01: {declared: holds, basis: expected, parameters: {delay: 1m}}", "`quo_01.delay` is `1m`; legal are 0.5ms to 60ms" ; "delay out of range")]
    #[test_case("  QUO-01: {declared: holds, basis: expected, parameters: {e: 61}}", "`quo_01.e` is 61; legal are 0.5 to 60" ; "number out of range")]
    #[test_case("  QUO-01: {declared: holds, basis: expected, parameters: {e: .nan}}", "6:62: non-finite float" ; "not a number")]
    #[test_case("  QUO-01: {declared: holds, basis: expected, parameters: {mode: ajar}}", "`quo_01.mode` is `ajar`; known are `closed` and `local`" ; "word")]
    #[test_case("  QUO-01: {declared: holds, basis: expected, parameters: {w: 1}}", "QUO-01 has no parameter `w`; known are `window`, `delay`, `e` and `mode`" ; "unknown parameter")]
    #[test_case("  QUO-02: {declared: holds, basis: expected, parameters: {w: 1}}", "QUO-02 has no parameter `w`; known are none" ; "no parameters")]
    #[test_case("  QUO-01: {when: \"store ==\", then: holds, otherwise: holds, basis: expected}", "6:18: `when` is not an expression: " ; "expression syntax")]
    #[test_case("  QUO-01: {when: \"storage == 'x'\", then: holds, otherwise: holds, basis: expected}", "`when` uses `storage`, which is not known; known are `settings`, `store`, `storeScope`, `storeFailover`, `sites`, `replicas`, `zones`, `platform`, `autoscale` and `peering`" ; "unknown name")]
    #[test_case("  QUO-01: {when: \"sites > 1\", then: holds, basis: expected}", "`when` needs `otherwise`" ; "no otherwise")]
    #[test_case("  QUO-01: {declared: holds, then: holds, basis: expected}", "`then` needs a `when`" ; "then without when")]
    #[test_case("  QUO-01: 1", "`QUO-01` is a map of keys and values, not 1" ; "not a map")]
    #[test_case("  QUO-01: {declared: holds, basis: expected, because: x}", "unknown key `because` in `QUO-01`; known are `declared`, `when`" ; "unknown key")]
    fn mistakes(claims: &str, expected: &str) {
        let error = read(claims).unwrap_err();
        assert!(error.contains(expected), "{error}\n--- lacks\n{expected}");
    }

    #[test]
    fn minimum_is_at_most_what_there_is() {
        let text = format!("{HEAD}  QUO-02: {{declared: holds, basis: expected}}\n").replace("Judged: 1", "Judged: 4");
        let error = parse("mine.yaml", &text, &KNOWN).unwrap_err().to_string();
        assert!(error.contains("4:16: `minimumJudged` is 4; legal are 1 to 3"), "{error}");
    }

    fn deployment(store: &str) -> Deployment {
        deployment::yaml::parse(
            "edge.yaml",
            &format!(
                "version: \"1.0\"\nname: edge\nprofile: a\ngateway: {{adapter: x}}\nsites: [{{name: eu, replicas: 2}}, {{name: us, replicas: 3}}]\n{store}"
            ),
        )
        .unwrap()
    }

    #[test_case("store == 'redis'", "store: {kind: redis}\n", Declared::Holds ; "redis")]
    #[test_case("store == 'redis'", "store: {kind: stub}\n", Declared::DoesNotHold ; "stub")]
    #[test_case("store == 'none' and storeScope == 'none'", "", Declared::Holds ; "none")]
    #[test_case("storeScope == 'deployment'", "store: {kind: redis, scope: deployment}\n", Declared::Holds ; "one for all")]
    #[test_case("storeScope == 'deployment'", "store: {kind: redis}\n", Declared::DoesNotHold ; "one for each site")]
    #[test_case("sites == 2 and replicas == 5", "", Declared::Holds ; "counts")]
    #[test_case("peering", "", Declared::DoesNotHold ; "no group")]
    #[test_case("platform", "platform: {}\n", Declared::Holds ; "a platform")]
    #[test_case("platform", "", Declared::DoesNotHold ; "no platform")]
    #[test_case("autoscale", "platform: {autoscale: {maxReplicas: 3}}\n", Declared::Holds ; "a platform that scales")]
    #[test_case("storeFailover", "store: {kind: redis, failover: {}}\n", Declared::Holds ; "a store that fails over")]
    #[test_case("autoscale", "platform: {}\n", Declared::DoesNotHold ; "a platform that does not scale")]
    #[test_case("settings.cache == 'on'", "", Declared::Holds ; "a setting")]
    #[test_case("settings.count > 3", "", Declared::DoesNotHold ; "a number")]
    #[test_case("settings.unset == 'on'", "", Declared::NotApplicable ; "a setting that is not set")]
    fn conditions(when: &str, store: &str, expected: Declared) {
        let profile =
            read(&format!("  QUO-02: {{when: \"{when}\", then: holds, otherwise: does-not-hold, basis: expected}}\n"))
                .unwrap();
        let settings = BTreeMap::from([
            ("cache".to_owned(), Scalar::Text("on".to_owned())),
            ("count".to_owned(), Scalar::Number(3.0)),
        ]);
        assert_eq!(profile.declared(&ClaimId::new("QUO-02"), &deployment(store), &settings).declared, expected);
    }

    #[test]
    fn what_is_not_declared_is_not_applicable() {
        let profile = read("  QUO-02: {declared: holds, basis: expected}\n").unwrap();
        let resolved = profile.declared(&ClaimId::new("QUO-01"), &deployment(""), &BTreeMap::new());
        assert_eq!(resolved.declared, Declared::NotApplicable);
        assert_eq!(resolved.source, "not declared by profile `mine`");
    }

    #[test]
    fn a_parameter_can_come_from_a_setting() {
        let profile =
            read("  QUO-01: {declared: holds, basis: expected, parameters: {mode: settings.onLoss}}\n").unwrap();
        let settings = BTreeMap::from([("onLoss".to_owned(), Scalar::Text("closed".to_owned()))]);
        let id = ClaimId::new("QUO-01");
        let resolved = profile.declared(&id, &deployment(""), &settings);
        assert_eq!(resolved.parameters["mode"], Scalar::Text("closed".to_owned()));
        let resolved = profile.declared(&id, &deployment(""), &BTreeMap::new());
        assert_eq!(resolved.declared, Declared::NotApplicable);
        assert_eq!(resolved.source, "parameter `mode` is setting `onLoss`, which the deployment does not set");
    }

    #[test]
    fn a_number_can_come_from_a_setting_too() {
        let profile =
            read("  QUO-01: {declared: holds, basis: expected, parameters: {window: settings.lasts}}\n").unwrap();
        let settings = BTreeMap::from([("lasts".to_owned(), Scalar::Number(20.0))]);
        let resolved = profile.declared(&ClaimId::new("QUO-01"), &deployment(""), &settings);
        assert_eq!(resolved.parameters["window"], Scalar::Number(20.0));
    }
}
