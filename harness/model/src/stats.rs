//! How is a number made from samples, and how sure is it? Quantiles that count the unfinished, the rank test,
//! a median's interval, evenness, and the upper bound that zero failures leave open.
//!
//! Nothing here resamples or draws: the same samples give the same number.

/// The `q`-quantile (0 to 1) of `finished` (any order; reordered) with `unfinished` further samples that are
/// larger than all of them. `None` if there are no samples, or if the quantile falls among the unfinished.
///
/// It is the smallest sample that at least `q` of all samples do not exceed; time is linear in their number.
///
/// ```
/// use gatecrash_model::stats::quantile;
/// assert_eq!(quantile(&mut [3.0, 1.0, 2.0], 0, 0.5), Some(2.0));
/// assert_eq!(quantile(&mut [3.0, 1.0, 2.0], 1, 0.95), None, "a quarter never finished");
/// ```
#[must_use]
pub fn quantile(finished: &mut [f64], unfinished: usize, q: f64) -> Option<f64> {
    let total = finished.len().checked_add(unfinished)?;
    if total == 0 {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 <= rank <= total, and counts are small"
    )]
    let rank = (q.clamp(0.0, 1.0) * total as f64).ceil() as usize;
    let at = rank.saturating_sub(1).min(total.saturating_sub(1));
    if at >= finished.len() {
        return None;
    }
    let (_, found, _) = finished.select_nth_unstable_by(at, f64::total_cmp);
    Some(*found)
}

/// One-sided Mann-Whitney rank test: the probability of ranks at least as high as those of `greater` if both came
/// from one distribution. Small means that `greater` tends to be greater than `lesser`. `None` if a side is empty;
/// 1 if all samples are equal.
///
/// Normal approximation with ties and continuity correction: fair from about 8 samples a side on
/// (Mann and Whitney 1947, Annals of Mathematical Statistics 18).
///
/// ```
/// use gatecrash_model::stats::rank_test;
/// let p = rank_test(&[6.0, 7.0, 8.0, 9.0, 10.0], &[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
/// assert!((p - 0.006_093).abs() < 1e-6);
/// ```
#[must_use]
pub fn rank_test(greater: &[f64], lesser: &[f64]) -> Option<f64> {
    if greater.is_empty() || lesser.is_empty() {
        return None;
    }
    let mut all: Vec<(f64, bool)> =
        greater.iter().map(|value| (*value, true)).chain(lesser.iter().map(|value| (*value, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut rank_sum, mut ties, mut before) = (0.0, 0.0, 0.0);
    for tied in all.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let size = tied.len() as f64;
        let rank = before + (size + 1.0) / 2.0;
        rank_sum += rank * tied.iter().filter(|(_, ours)| *ours).count() as f64;
        ties += size * size * size - size;
        before += size;
    }
    let (m, n) = (greater.len() as f64, lesser.len() as f64);
    let total = m + n;
    let u = rank_sum - m * (m + 1.0) / 2.0;
    let variance = m * n / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
    if variance <= 0.0 {
        return Some(1.0);
    }
    Some(normal_above((u - m * n / 2.0 - 0.5) / variance.sqrt()))
}

/// Spearman's rank correlation of two series, -1 to 1: of the ranks of `a` and `b`, place by place, equal values sharing their mean rank. `None`
/// for fewer than two places, different lengths, or a series of equal values. Infinite values are the highest.
///
/// ```
/// use gatecrash_model::stats::rank_correlation;
/// assert_eq!(rank_correlation(&[1.0, 2.0, 3.0], &[5.0, 6.0, f64::INFINITY]), Some(1.0));
/// assert_eq!(rank_correlation(&[1.0, 2.0, 3.0], &[9.0, 8.0, 7.0]), Some(-1.0));
/// assert_eq!(rank_correlation(&[1.0, 2.0], &[3.0, 3.0]), None);
/// ```
#[must_use]
pub fn rank_correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.len() < 2 {
        return None;
    }
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 + 1.0) / 2.0;
    let spread = |ranks: &[f64]| ranks.iter().map(|rank| (rank - mean).powi(2)).sum::<f64>();
    let together: f64 = a.iter().zip(&b).map(|(a, b)| (a - mean) * (b - mean)).sum();
    let scale = (spread(&a) * spread(&b)).sqrt();
    (scale > 0.0).then(|| together / scale)
}

/// The rank of each value, from 1; equal ones share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let of = |value: &f64| {
        let below = values.iter().filter(|other| other.total_cmp(value).is_lt()).count() as f64;
        let equal = values.iter().filter(|other| other.total_cmp(value).is_eq()).count() as f64;
        below + (equal + 1.0) / 2.0
    };
    values.iter().map(of).collect()
}

/// An interval that holds the true median with at least `confidence` (0 to 1), from order statistics of `samples`
/// (any order; reordered). `None` if there are too few samples for that (6 are needed for 0.95).
///
/// ```
/// use gatecrash_model::stats::median_interval;
/// let mut samples: Vec<f64> = (1..=10).map(f64::from).collect();
/// assert_eq!(median_interval(&mut samples, 0.95), Some((2.0, 9.0)));
/// ```
#[must_use]
pub fn median_interval(samples: &mut [f64], confidence: f64) -> Option<(f64, f64)> {
    let tail = (1.0 - confidence.clamp(0.0, 1.0)) / 2.0;
    let count = samples.len() as f64;
    // ln of the binomial probability of `below` successes in `count` fair draws, from 0 upwards.
    let mut term = -count * std::f64::consts::LN_2;
    let (mut sum, mut below) = (0.0, 0_usize);
    while below < samples.len() / 2 {
        sum += term.exp();
        if sum > tail {
            break;
        }
        let step = below as f64;
        term += ((count - step) / (step + 1.0)).ln();
        below = below.saturating_add(1);
    }
    // `below` is the largest k with P(fewer than k samples lie below the median) <= tail; the interval is [k-th, k-th from above].
    let low = below.checked_sub(1)?;
    let high = samples.len().checked_sub(below)?;
    samples.sort_by(f64::total_cmp);
    Some((*samples.get(low)?, *samples.get(high)?))
}

/// Two-sided 95 % points of Student's t for 1 to 10 degrees of freedom; the last one serves all beyond, where it is a little wide.
const STUDENT_95: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

/// The mean of `samples` with the interval that holds the true one with 95 %: mean, lower end, upper end. `None` for fewer than two samples. It takes them
/// to be about normal (Student 1908, Biometrika 6).
///
/// ```
/// use gatecrash_model::stats::mean_interval_95;
/// let (mean, low, high) = mean_interval_95(&[1.9, 2.0, 2.1, 2.0, 2.0]).unwrap();
/// assert!((mean - 2.0).abs() < 1e-9 && (low - 1.912).abs() < 1e-3 && (high - 2.088).abs() < 1e-3);
/// assert_eq!(mean_interval_95(&[2.0]), None);
/// ```
#[must_use]
pub fn mean_interval_95(samples: &[f64]) -> Option<(f64, f64, f64)> {
    let freedom = samples.len().checked_sub(1).filter(|freedom| *freedom > 0)?;
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    let variance = samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let point = STUDENT_95.get(freedom.saturating_sub(1)).or(STUDENT_95.last())?;
    let half = point * (variance / count).sqrt();
    Some((mean, mean - half, mean + half))
}

/// Chi-square test of evenness: the probability of counts at least as uneven as these if each part had the same share.
/// `None` for fewer than two parts or an empty total; fair if the mean count is 5 or more.
///
/// ```
/// use gatecrash_model::stats::evenness;
/// assert!(evenness(&[50, 51, 49]).unwrap() > 0.9);
/// assert!(evenness(&[90, 10]).unwrap() < 1e-9);
/// ```
#[must_use]
pub fn evenness(counts: &[u64]) -> Option<f64> {
    let total: f64 = counts.iter().map(|count| *count as f64).sum();
    if counts.len() < 2 || total <= 0.0 {
        return None;
    }
    let mean = total / counts.len() as f64;
    let statistic: f64 = counts.iter().map(|count| (*count as f64 - mean).powi(2) / mean).sum();
    Some(chi_square_above(statistic, counts.len().saturating_sub(1)))
}

/// With `samples` observations and no failure, the failure rate is below this with 95 % confidence: 3/n (the rule
/// of three), at most 1.
///
/// ```
/// use gatecrash_model::stats::upper_bound_without_failures;
/// assert_eq!(upper_bound_without_failures(20_000), 0.000_15);
/// assert_eq!(upper_bound_without_failures(0), 1.0);
/// ```
#[must_use]
pub fn upper_bound_without_failures(samples: u64) -> f64 {
    (3.0 / samples as f64).min(1.0)
}

/// Density of the standard normal distribution.
fn normal_density(z: f64) -> f64 {
    (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// Probability that a standard normal variable exceeds `z`: the power series near 0, the continued fraction in the
/// tail (Abramowitz and Stegun 26.2.11 and 26.2.14).
fn normal_above(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - normal_above(-z);
    }
    if z < 3.0 {
        let (mut term, mut sum, mut odd) = (z, z, 3.0);
        for _ in 0..100 {
            term *= z * z / odd;
            sum += term;
            odd += 2.0;
        }
        return 0.5 - normal_density(z) * sum;
    }
    let mut fraction = 0.0;
    for level in (1..=100_u32).rev() {
        fraction = f64::from(level) / (z + fraction);
    }
    normal_density(z) / (z + fraction)
}

/// Probability that a chi-square variable with `freedom` degrees exceeds `x`: closed form for 1 and 2, then two
/// degrees a step (Abramowitz and Stegun 26.4.4 and 26.4.5).
fn chi_square_above(x: f64, freedom: usize) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let half = x / 2.0;
    let even = freedom.is_multiple_of(2);
    let mut above = if even { (-half).exp() } else { 2.0 * normal_above(x.sqrt()) };
    let mut degrees = if even { 2 } else { 1_usize };
    let mut term =
        if even { half * (-half).exp() } else { half.sqrt() * (-half).exp() * std::f64::consts::FRAC_2_SQRT_PI };
    while degrees < freedom {
        above += term;
        degrees = degrees.saturating_add(2);
        term *= half / (degrees as f64 / 2.0);
    }
    above.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn close(found: f64, expected: f64, within: f64) {
        assert!((found - expected).abs() <= within, "{found} is not {expected} within {within}");
    }

    #[test_case(&[], 0, 0.5, None; "no samples")]
    #[test_case(&[5.0], 0, 0.0, Some(5.0); "one, least")]
    #[test_case(&[5.0], 0, 1.0, Some(5.0); "one, greatest")]
    #[test_case(&[4.0, 1.0, 3.0, 2.0], 0, 0.5, Some(2.0); "the lower of two middles")]
    #[test_case(&[4.0, 1.0, 3.0, 2.0], 0, 0.95, Some(4.0); "the tail")]
    #[test_case(&[4.0, 1.0, 3.0, 2.0], 4, 0.5, Some(4.0); "half unfinished, median")]
    #[test_case(&[4.0, 1.0, 3.0, 2.0], 4, 0.51, None; "half unfinished, just above")]
    #[test_case(&[], 3, 0.0, None; "all unfinished")]
    fn quantiles(finished: &[f64], unfinished: usize, q: f64, expected: Option<f64>) {
        assert_eq!(quantile(&mut finished.to_vec(), unfinished, q), expected);
    }

    #[test]
    fn normal_tail_has_its_known_values() {
        // Abramowitz and Stegun, table 26.1 and 26.2.
        for (z, above) in [(0.0, 0.5), (1.0, 0.158_655_253_931), (1.959_963_985, 0.025), (2.999, 0.001354336534)] {
            close(normal_above(z), above, 1e-9);
            close(normal_above(-z), 1.0 - above, 1e-9);
        }
        close(normal_above(3.0) / 1.349_898_031_6e-3, 1.0, 1e-9);
        close(normal_above(6.0) / 9.865_876_450_4e-10, 1.0, 1e-9);
    }

    #[test]
    fn rank_test_has_its_known_values() {
        let (low, high) = ([1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0]);
        close(rank_test(&high, &low).unwrap(), 0.006_092_890_177_672, 1e-12);
        assert!(rank_test(&low, &high).unwrap() > 0.99);
        close(rank_test(&[2.0, 3.0, 4.0, 5.0], &[1.0, 2.0, 2.0, 3.0]).unwrap(), TIED, 1e-9);
        assert_eq!(rank_test(&[1.0; 9], &[1.0; 9]), Some(1.0));
        assert_eq!(rank_test(&[], &low), None);
        assert_eq!(rank_test(&low, &[]), None);
        assert!(rank_test(&[f64::INFINITY; 8], &[1.0; 8]).unwrap() < 0.001, "what never finished is greatest");
    }

    #[test_case(5, None; "five are too few")]
    #[test_case(6, Some((1.0, 6.0)); "six")]
    #[test_case(10, Some((2.0, 9.0)); "ten")]
    #[test_case(100, Some((40.0, 61.0)); "a hundred")]
    #[test_case(0, None; "none")]
    fn median_intervals(count: u32, expected: Option<(f64, f64)>) {
        let mut samples: Vec<f64> = (1..=count).rev().map(f64::from).collect();
        assert_eq!(median_interval(&mut samples, 0.95), expected);
    }

    #[test]
    fn a_large_sample_has_an_interval_too() {
        let mut samples: Vec<f64> = (0..10_001).map(f64::from).collect();
        let (low, high) = median_interval(&mut samples, 0.95).unwrap();
        close(low, 5000.0 - 98.0, 3.0);
        close(high, 5000.0 + 98.0, 3.0);
    }

    #[test]
    fn chi_square_has_its_known_values() {
        // Critical values of the 5 % level.
        for (freedom, x) in
            [(1, 3.841_459), (2, 5.991_465), (3, 7.814_728), (4, 9.487_729), (9, 16.918_978), (10, 18.307_038)]
        {
            close(chi_square_above(x, freedom), 0.05, 1e-6);
        }
        assert_eq!(evenness(&[7]), None);
        assert_eq!(evenness(&[0, 0]), None);
        assert_eq!(evenness(&[5, 5, 5]), Some(1.0));
    }

    #[test]
    fn no_failure_leaves_three_in_n() {
        close(upper_bound_without_failures(300), 0.01, 1e-12);
        close(upper_bound_without_failures(2), 1.0, 0.0);
    }

    /// By hand: ranks of the greater side 3.0 (tied 2,2,2), 5.5, 7, 8; U = 13.5; variance 16/12 * (9 - 30/56).
    const TIED: f64 = 0.068329123869;
}
