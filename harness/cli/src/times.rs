//! Times as people read them: wall time as RFC 3339, durations in the unit that fits.

use std::time::Duration;

/// A wall time in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wall {
    epoch_s: u64,
}

impl Wall {
    /// The time this many seconds after the epoch.
    pub(crate) fn of_epoch(epoch_s: u64) -> Self {
        Self { epoch_s }
    }

    /// `2026-03-01T12:00:00Z`. Source: the calendar's 400-year cycle of 146,097 days, counted from March.
    pub(crate) fn rfc3339(self) -> String {
        let (days, second) = (self.epoch_s / 86_400, self.epoch_s % 86_400);
        // Days since 0000-03-01; a year that begins in March has its leap day at its end.
        let days = days.saturating_add(719_468);
        let (era, day) = (days / 146_097, days % 146_097);
        let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = era.saturating_mul(400).saturating_add(year_of_era).saturating_add(next_year);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// `12 s`, `2 min 5 s`.
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round();
    if seconds < 1.0 {
        return format!("{} ms", duration.as_millis());
    }
    let whole = Duration::from_secs_f64(seconds).as_secs();
    if whole < 60 { format!("{whole} s") } else { format!("{} min {} s", whole / 60, whole % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_times() {
        for (epoch, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_000_000_000, "2001-09-09T01:46:40Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (1_772_323_200, "2026-03-01T00:00:00Z"),
        ] {
            assert_eq!(Wall::of_epoch(epoch).rfc3339(), text);
        }
    }

    #[test]
    fn durations() {
        assert_eq!(short(Duration::from_millis(20)), "20 ms");
        assert_eq!(short(Duration::from_millis(12_400)), "12 s");
        assert_eq!(short(Duration::from_secs(125)), "2 min 5 s");
    }
}
