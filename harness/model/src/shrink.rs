//! Which of these steps are needed for it to fail? Delta debugging, pure: it says what to try next, and is told what came of it.
//!
//! [`Reduction`] is the minimising algorithm of delta debugging. It begins with all steps, which are known to fail; tries ever smaller parts of
//! them and what is left without each part; and goes on from whatever still fails. In the end no single step can be left out
//! (1-minimal), unless the limit of tries came first. Nothing is tried twice.
//!
//! Source: A. Zeller and R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 28(2), 2002, algorithm `ddmin`.

use std::collections::{BTreeMap, VecDeque};

/// A reduction under way.
///
/// ```
/// use gatecrash_model::shrink::Reduction;
/// let mut reduction = Reduction::new(8, 100);
/// while let Some(tried) = reduction.next_try() {
///     reduction.answer(tried.contains(&2) && tried.contains(&5));
/// }
/// assert_eq!(reduction.kept(), [2, 5]);
/// assert!(reduction.is_minimal());
/// ```
#[derive(Clone, Debug)]
pub struct Reduction {
    /// Known to fail; ascending.
    kept: Vec<usize>,
    /// In how many parts `kept` is cut.
    parts: usize,
    /// What is still to be tried of this cut.
    queue: VecDeque<Candidate>,
    pending: Option<Candidate>,
    /// What is known: whether it fails.
    known: BTreeMap<Vec<usize>, bool>,
    tries: u32,
    most: u32,
    end: End,
}

#[derive(Clone, Debug)]
struct Candidate {
    steps: Vec<usize>,
    /// A part, not what is left without one.
    is_part: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    NotYet,
    Minimal,
    Limit,
}

impl Reduction {
    /// Of `steps` steps, numbered from 0, all of which together fail; at most `most` tries.
    #[must_use]
    pub fn new(steps: usize, most: u32) -> Self {
        let mut reduction = Self {
            kept: (0..steps).collect(),
            parts: 2,
            queue: VecDeque::new(),
            pending: None,
            known: BTreeMap::new(),
            tries: 0,
            most,
            end: End::NotYet,
        };
        reduction.known.insert(reduction.kept.clone(), true);
        reduction.cut();
        reduction
    }

    /// The steps to try next, ascending; may be none. `None` at the end. Asked again before [`Reduction::answer`], it says the same.
    pub fn next_try(&mut self) -> Option<Vec<usize>> {
        if let Some(pending) = &self.pending {
            return Some(pending.steps.clone());
        }
        while self.end == End::NotYet {
            let Some(candidate) = self.queue.pop_front() else {
                self.finer();
                continue;
            };
            if let Some(fails) = self.known.get(&candidate.steps) {
                let fails = *fails;
                self.learn(candidate, fails);
            } else if self.tries >= self.most {
                self.end = End::Limit;
            } else {
                self.tries = self.tries.saturating_add(1);
                let steps = candidate.steps.clone();
                self.pending = Some(candidate);
                return Some(steps);
            }
        }
        None
    }

    /// What came of the last [`Reduction::next_try`]: whether it failed. What nobody can tell counts as not failing.
    pub fn answer(&mut self, fails: bool) {
        if let Some(candidate) = self.pending.take() {
            self.known.insert(candidate.steps.clone(), fails);
            self.learn(candidate, fails);
        }
    }

    /// The smallest set of steps that is known to fail, ascending.
    #[must_use]
    pub fn kept(&self) -> &[usize] {
        &self.kept
    }

    /// Whether it came to its end: without any single step of [`Reduction::kept`] it did not fail.
    #[must_use]
    pub fn is_minimal(&self) -> bool {
        self.end == End::Minimal
    }

    /// How much was tried.
    #[must_use]
    pub fn tries(&self) -> u32 {
        self.tries
    }

    fn learn(&mut self, candidate: Candidate, fails: bool) {
        if !fails || candidate.steps.len() >= self.kept.len() {
            return;
        }
        // A part is cut anew; what is left without a part is cut into parts of the same size.
        self.parts = if candidate.is_part { 2 } else { self.parts.saturating_sub(1).max(2) };
        self.kept = candidate.steps;
        self.cut();
    }

    /// No part of this cut could be left out, and none fails alone: smaller parts, or the end.
    fn finer(&mut self) {
        if self.parts >= self.kept.len() {
            self.end = End::Minimal;
            return;
        }
        self.parts = self.parts.saturating_mul(2);
        self.cut();
    }

    fn cut(&mut self) {
        self.parts = self.parts.min(self.kept.len());
        self.queue.clear();
        let size = self.kept.len().div_ceil(self.parts.max(1)).max(1);
        let parts: Vec<Vec<usize>> = self.kept.chunks(size).map(<[usize]>::to_vec).collect();
        if parts.len() >= 2 {
            self.queue.extend(parts.iter().map(|part| Candidate { steps: part.clone(), is_part: true }));
        }
        self.queue.extend(parts.iter().map(|part| {
            let steps = self.kept.iter().filter(|step| !part.contains(step)).copied().collect();
            Candidate { steps, is_part: false }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs to the end; what was tried, in order.
    fn run(reduction: &mut Reduction, fails: impl Fn(&[usize]) -> bool) -> Vec<Vec<usize>> {
        let mut tried = Vec::new();
        while let Some(steps) = reduction.next_try() {
            reduction.answer(fails(&steps));
            tried.push(steps);
        }
        tried
    }

    #[test]
    fn one_of_four_is_found_and_its_absence_tried() {
        let mut reduction = Reduction::new(4, 100);
        let tried = run(&mut reduction, |steps| steps.contains(&0));
        assert_eq!(reduction.kept(), [0]);
        assert!(reduction.is_minimal());
        assert_eq!(tried, [vec![0, 1], vec![0], vec![]]);
        assert_eq!(reduction.tries(), 3);
    }

    #[test]
    fn what_fails_by_itself_needs_no_step() {
        let mut reduction = Reduction::new(3, 100);
        run(&mut reduction, |_| true);
        assert_eq!(reduction.kept(), Vec::<usize>::new());
        assert!(reduction.is_minimal());
        let mut reduction = Reduction::new(0, 100);
        assert_eq!(run(&mut reduction, |_| true), Vec::<Vec<usize>>::new());
        assert!(reduction.is_minimal());
    }

    #[test]
    fn the_limit_ends_it_with_what_is_known_to_fail() {
        let mut reduction = Reduction::new(8, 2);
        let tried = run(&mut reduction, |steps| steps.contains(&7) && steps.contains(&3));
        assert_eq!(tried.len(), 2);
        assert_eq!(reduction.kept(), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(!reduction.is_minimal());
    }

    #[test]
    fn asked_twice_it_says_the_same() {
        let mut reduction = Reduction::new(4, 100);
        assert_eq!(reduction.next_try(), reduction.next_try());
        assert_eq!(reduction.tries(), 1);
    }

    proptest! {
        /// Whatever fails, monotonous or not: the result fails, no single step can be left out, nothing is tried twice, and the
        /// number of tries is that of the paper at most.
        #[test]
        fn the_result_fails_and_is_minimal(steps in 1..14_usize, seed: u64, monotonous: bool) {
            let needed = |steps: usize| (0..steps).filter(|step| (seed >> step) & 1 == 1).collect::<Vec<_>>();
            let all: Vec<usize> = (0..steps).collect();
            let needed = needed(steps);
            let fails = |tried: &[usize]| {
                if monotonous || tried.len() == all.len() {
                    return needed.iter().all(|step| tried.contains(step));
                }
                // Any answer, the same each time.
                let hash = tried.iter().fold(seed, |hash, step| {
                    let number = u64::try_from(*step).unwrap_or_default();
                    hash.wrapping_mul(31).wrapping_add(number).wrapping_add(1).rotate_left(7)
                });
                hash % 3 == 0
            };
            let mut reduction = Reduction::new(steps, 10_000);
            let tried = run(&mut reduction, fails);
            prop_assert!(reduction.is_minimal());
            let kept = reduction.kept().to_vec();
            prop_assert!(kept == all || fails(&kept), "{kept:?} does not fail");
            for left_out in &kept {
                let without: Vec<usize> = kept.iter().filter(|step| *step != left_out).copied().collect();
                prop_assert!(!fails(&without), "{left_out} of {kept:?} can be left out");
            }
            if monotonous {
                prop_assert_eq!(kept, needed);
            }
            let distinct: std::collections::BTreeSet<&Vec<usize>> = tried.iter().collect();
            prop_assert_eq!(distinct.len(), tried.len());
            prop_assert!(tried.len() <= steps.saturating_mul(steps.saturating_add(3)), "{} tries for {steps} steps", tried.len());
        }

        #[test]
        fn no_more_is_tried_than_allowed(steps in 0..20_usize, most in 0..10_u32, seed: u64) {
            let mut reduction = Reduction::new(steps, most);
            let tried = run(&mut reduction, |tried| tried.iter().all(|step| (seed >> step) & 1 == 1));
            prop_assert!(tried.len() <= most as usize);
            prop_assert_eq!(tried.len(), reduction.tries() as usize);
        }
    }
}
