//! How many gateways may be lost until what they share is decided no more? Arithmetic over the layout of a group of
//! gateways, before anything runs (K4 of the catalogue).
//!
//! A group of `n` voters decides by more than half of them: `n / 2 + 1`. With a site of `s` voters lost and `m` more in
//! maintenance it goes on sharing as long as `n - s - m` are enough. So of two sites one can always be lost that takes the
//! quorum with it, whatever their sizes.

use crate::deployment::Deployment;

/// The voters of a group by site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Sites with the number of their voters, in the order of the deployment.
    sites: Vec<(String, u32)>,
}

/// What is left of a group when a site is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteLoss {
    /// The lost site.
    pub site: String,
    /// Voters that are left.
    pub left: u32,
    /// Whether these are enough.
    pub shares: bool,
    /// Whether they still are with one of them in maintenance.
    pub shares_in_maintenance: bool,
}

impl Layout {
    /// The group of `deployment`; `None` if its gateways are none.
    #[must_use]
    pub fn of(deployment: &Deployment) -> Option<Self> {
        deployment.peering.as_ref()?;
        let sites = deployment.sites.iter().map(|site| (site.name.clone(), site.replicas)).collect();
        Some(Self { sites })
    }

    /// All voters.
    #[must_use]
    pub fn voters(&self) -> u32 {
        self.sites.iter().map(|(_, voters)| *voters).fold(0, u32::saturating_add)
    }

    /// Voters that decide: more than half of all. 0 for a group without voters.
    #[must_use]
    pub fn quorum(&self) -> u32 {
        if self.voters() == 0 { 0 } else { (self.voters() / 2).saturating_add(1) }
    }

    /// Voters that may be lost, wherever they are, while the others go on sharing.
    #[must_use]
    pub fn spare(&self) -> u32 {
        self.voters().saturating_sub(self.quorum())
    }

    /// What the loss of each site leaves, in the order of the deployment.
    #[must_use]
    pub fn site_losses(&self) -> Vec<SiteLoss> {
        let quorum = self.quorum();
        let loss = |(site, voters): &(String, u32)| {
            let left = self.voters().saturating_sub(*voters);
            SiteLoss {
                site: site.clone(),
                left,
                shares: quorum > 0 && left >= quorum,
                shares_in_maintenance: quorum > 0 && left.saturating_sub(1) >= quorum,
            }
        };
        self.sites.iter().map(loss).collect()
    }

    /// The sites whose loss leaves a group that still shares.
    #[must_use]
    pub fn dispensable(&self) -> Vec<String> {
        self.site_losses().into_iter().filter(|loss| loss.shares).map(|loss| loss.site).collect()
    }

    /// The arithmetic in words, a sentence for the group and one for the loss of each site.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let layout: Vec<String> = self.sites.iter().map(|(site, voters)| format!("{site} {voters}")).collect();
        let (voters, quorum, spare) = (self.voters(), self.quorum(), self.spare());
        let mut all = vec![format!(
            "{voters} voters ({}), a quorum is {quorum}: state is shared while at most {spare} are lost",
            layout.join(", ")
        )];
        for loss in self.site_losses() {
            let SiteLoss { site, left, shares, shares_in_maintenance } = loss;
            let then = match (shares, shares_in_maintenance) {
                (true, true) => "state is still shared, also with one more in maintenance".to_owned(),
                (true, false) => format!(
                    "state is still shared; with one more in maintenance {} are left, and it is not",
                    left.saturating_sub(1)
                ),
                (false, _) => "state is not shared".to_owned(),
            };
            all.push(format!("without `{site}` {left} are left: {then}"));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn layout(sites: &[u32]) -> Layout {
        Layout { sites: sites.iter().enumerate().map(|(at, voters)| (format!("s{at}"), *voters)).collect() }
    }

    /// The table of K4: voters by site, n and quorum, then for each site whether its loss leaves a quorum, and whether that is so with one
    /// more in maintenance.
    #[test_case(&[3, 3], (6, 4), &[(false, false), (false, false)] ; "two sites alike")]
    #[test_case(&[3, 2], (5, 3), &[(false, false), (true, false)] ; "two sites, one larger")]
    #[test_case(&[5, 2], (7, 4), &[(false, false), (true, true)] ; "two sites, one much larger")]
    #[test_case(&[1, 1, 1], (3, 2), &[(true, false), (true, false), (true, false)] ; "three sites of one")]
    #[test_case(&[3, 3, 3], (9, 5), &[(true, true), (true, true), (true, true)] ; "three sites of three")]
    #[test_case(&[], (0, 0), &[] ; "no site")]
    fn the_table_of_the_catalogue(sites: &[u32], numbers: (u32, u32), losses: &[(bool, bool)]) {
        let layout = layout(sites);
        assert_eq!((layout.voters(), layout.quorum()), numbers);
        let found: Vec<(bool, bool)> =
            layout.site_losses().iter().map(|loss| (loss.shares, loss.shares_in_maintenance)).collect();
        assert_eq!(found, losses);
    }

    #[test]
    fn of_two_sites_one_takes_the_quorum_with_it() {
        for first in 1..=10 {
            for second in 1..=10 {
                assert!(layout(&[first, second]).dispensable().len() < 2, "{first} + {second}");
            }
        }
    }

    #[test]
    fn words_have_the_numbers() {
        assert_eq!(
            layout(&[3, 2]).sentences(),
            [
                "5 voters (s0 3, s1 2), a quorum is 3: state is shared while at most 2 are lost",
                "without `s0` 2 are left: state is not shared",
                "without `s1` 3 are left: state is still shared; with one more in maintenance 2 are left, and it is not",
            ]
        );
    }
}
