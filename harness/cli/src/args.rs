//! What may stand on the command line?

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Crashes API gateways on purpose, and says, with evidence, which of their promises survived.
#[derive(Debug, Parser)]
#[command(name = "gatecrash", version, about, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 as declared, 1 a claim failed, 2 inconclusive or nothing judged, 3 something that \
a run needs is not there, 64 usage or bad input, 70 our own fault, 130 interrupted."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the experiments against a deployment and judge its claims
    Certify {
        #[command(flatten)]
        certify: Certify,
        /// Look for a smallest schedule of faults for each claim that fails, and write it beside the reports
        #[arg(long, conflicts_with = "schedule")]
        shrink: bool,
    },
    /// Say what `certify` would do: experiments, claims, time, what would be touched
    Plan(Certify),
    /// List claims, profiles, deployments and adapters
    List {
        /// List the sentences of the two documents that the claims come from, and which claim is about each
        #[arg(long, conflicts_with = "defects")]
        sentences: bool,
        /// List the defects of the reference gateway, and which claims must catch each
        #[arg(long)]
        defects: bool,
    },
    /// Say everything about one claim
    Explain {
        /// Its id, such as `QUO-01`
        claim: String,
    },
    /// Judge a saved run again
    Check {
        /// Folder of the run, such as `target/gatecrash/r1a2b3c4d`
        run: PathBuf,
    },
    /// Remove what killed runs left on this machine; what belongs to a living run is not touched
    Sweep {
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
        /// Also remove what does not say which run it belongs to
        #[arg(long)]
        unknown: bool,
    },
    /// Say what this machine can do, and what is missing
    Doctor,
}

/// Arguments of `certify` and `plan`.
#[derive(Args, Clone, Debug)]
// By default the group is called as the struct is, and so is that of the verb it is part of.
#[group(id = "asked")]
pub(crate) struct Certify {
    /// Deployment: a YAML file, or the name of one that comes with gatecrash
    #[arg(required_unless_present = "schedule")]
    pub(crate) deployment: Option<PathBuf>,
    /// Run exactly what this file says: deployment, seed, scale, claims, and the steps of each experiment
    #[arg(long, value_name = "FILE", conflicts_with_all = ["deployment", "runtime", "seed", "scale", "only", "profile"])]
    pub(crate) schedule: Option<PathBuf>,
    /// Where components run; `auto`: containers where an engine answers, else processes
    #[arg(long, value_enum, default_value_t = RuntimeChoice::Auto)]
    pub(crate) runtime: RuntimeChoice,
    /// Seed of every random draw [default: drawn, and printed first]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Factor for all windows and faults, 0.01 to 1; only 1 certifies
    #[arg(long, default_value_t = crate::DEFAULT_SCALE, value_parser = scale)]
    pub(crate) scale: f64,
    /// Only claims whose id matches, `*` stands for anything; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(crate) only: Vec<String>,
    /// Profile instead of the deployment's: a name, or a path ending in `.yaml`
    #[arg(long)]
    pub(crate) profile: Option<String>,
    /// Folder for histories and reports [default: target/gatecrash/<run>]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Experiments at the same time, as far as the machine has room, 1 to 64 [default: from the number of cores and the runtime]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) parallel: Option<u16>,
}

/// Where components run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RuntimeChoice {
    /// Containers where an engine answers, else processes.
    #[default]
    Auto,
    /// Child processes on loopback.
    Process,
    /// Containers.
    Docker,
}

fn scale(text: &str) -> Result<f64, String> {
    let scale: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if (0.01..=1.0).contains(&scale) { Ok(scale) } else { Err(format!("it is {text}; it must be 0.01 to 1")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(line: &str) -> Result<Verb, clap::Error> {
        Arguments::try_parse_from(line.split(' ')).map(|arguments| arguments.verb)
    }

    #[test]
    fn the_declaration_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn certify_takes_everything() {
        let line = "gatecrash certify a.yaml --runtime process --seed 7 --scale 0.5 --only QUO-* --only TOK-01 \
                    --profile p.yaml --out o --parallel 3";
        let words = line.split_whitespace();
        let Verb::Certify { certify, shrink } = Arguments::try_parse_from(words).unwrap().verb else {
            panic!("certify")
        };
        assert_eq!(certify.deployment, Some(PathBuf::from("a.yaml")));
        assert!(!shrink);
        assert_eq!(certify.runtime, RuntimeChoice::Process);
        assert_eq!(certify.seed, Some(7));
        assert!((certify.scale - 0.5).abs() < f64::EPSILON);
        assert_eq!(certify.only, ["QUO-*", "TOK-01"]);
        assert_eq!(certify.profile.as_deref(), Some("p.yaml"));
        assert_eq!(certify.out, Some(PathBuf::from("o")));
        assert_eq!(certify.parallel, Some(3));
    }

    #[test]
    fn defaults_are_scaled_and_automatic() {
        let Verb::Certify { certify, .. } = parse("gatecrash certify a.yaml").unwrap() else { panic!("certify") };
        assert!((certify.scale - 0.1).abs() < f64::EPSILON);
        assert_eq!(certify.runtime, RuntimeChoice::Auto);
        assert_eq!((certify.seed, certify.parallel), (None, None));
    }

    #[test]
    fn a_schedule_says_all_that_is_not_said_of_where_it_goes() {
        let line = "gatecrash certify --schedule s.yaml --out o --parallel 3";
        let Verb::Certify { certify, .. } = parse(line).unwrap() else { panic!("certify") };
        assert_eq!((certify.deployment, certify.schedule), (None, Some(PathBuf::from("s.yaml"))));
        let Verb::Certify { shrink, .. } = parse("gatecrash certify a.yaml --shrink").unwrap() else {
            panic!("certify")
        };
        assert!(shrink);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for line in [
            "gatecrash certify a.yaml --scale 0",
            "gatecrash certify a.yaml --scale NaN",
            "gatecrash certify a.yaml --scale 2",
            "gatecrash certify a.yaml --parallel 0",
            "gatecrash certify a.yaml --seed -1",
            "gatecrash certify a.yaml --runtime podman",
            "gatecrash certify",
            "gatecrash certify a.yaml --schedule s.yaml",
            "gatecrash certify --schedule s.yaml --seed 7",
            "gatecrash certify --schedule s.yaml --scale 0.1",
            "gatecrash certify --schedule s.yaml --only QUO-01",
            "gatecrash certify --schedule s.yaml --shrink",
            "gatecrash plan a.yaml --shrink",
            "gatecrash",
            "gatecrash crash",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
