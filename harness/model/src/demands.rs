//! How long do claims ask stretches of a story to be? By the parameters in which a profile says what it promises: an outage of five minutes must last five.

use std::collections::BTreeMap;
use std::time::Duration;

/// What the claims over one experiment ask for, scaled, by the name of their parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    asked: BTreeMap<String, Duration>,
}

impl Demands {
    /// A claim asks for so much (scaled) by its parameter of this name; of several the longest counts.
    pub fn ask(&mut self, parameter: &str, scaled: Duration) {
        let longest = self.asked.entry(parameter.to_owned()).or_default();
        *longest = scaled.max(*longest);
    }

    /// How long a stretch is that takes `usual` (before scaling), enough for a claim that asks for `default`: in proportion longer where one asks for more
    /// than that, and never shorter.
    #[must_use]
    pub fn stretched(&self, usual: Duration, parameter: &str, default: Duration, scale: f64) -> Duration {
        let asked = self.asked.get(parameter).copied().unwrap_or_default();
        let share = usual.as_secs_f64() / default.as_secs_f64().max(f64::MIN_POSITIVE);
        let longer = Duration::try_from_secs_f64(asked.as_secs_f64() * share).unwrap_or_default();
        usual.mul_f64(scale).max(longer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_counts_and_nothing_is_shorter_than_usual() {
        let seconds = Duration::from_secs_f64;
        let mut demands = Demands::default();
        let outage = |demands: &Demands| demands.stretched(seconds(305.0), "outage", seconds(300.0), 0.1);
        assert_eq!(outage(&demands), seconds(30.5), "nobody asks");
        demands.ask("outage", seconds(10.0));
        assert_eq!(outage(&demands), seconds(30.5), "less is asked for");
        demands.ask("outage", seconds(30.0));
        assert_eq!(outage(&demands), seconds(30.5), "what it was made for");
        demands.ask("outage", seconds(60.0));
        demands.ask("outage", seconds(45.0));
        assert_eq!(outage(&demands), seconds(61.0));
        assert_eq!(demands.stretched(seconds(10.0), "settle", seconds(10.0), 1.0), seconds(10.0));
    }
}
