//! What does arithmetic over the topology say of a claim before anything runs (K4)? Printed in the plan, and beside the standing.

use super::peering::{sides, voters_of};
use gatecrash_model::Deployment;
use gatecrash_model::deployment::Site;
use gatecrash_model::quorum::{Layout, SiteLoss};

/// What the topology lets expect of the claim `id`, one sentence; `None` where it says nothing of it.
pub(crate) fn predicted(id: &str, deployment: &Deployment) -> Option<String> {
    let said = [of_group(id, deployment), of_sites(id, deployment)].into_iter().flatten().collect::<Vec<_>>();
    (!said.is_empty()).then(|| said.join("; "))
}

/// What the layout of a group of gateways says.
fn of_group(id: &str, deployment: &Deployment) -> Option<String> {
    let layout = Layout::of(deployment)?;
    let (voters, quorum, spare) = (layout.voters(), layout.quorum(), layout.spare());
    match id {
        "TOK-04" | "QUO-01" | "QUO-03" | "QUO-05" => {
            Some(format!("shared: of {voters} voters {quorum} decide, and no more than {spare} are ever away"))
        }
        "PAR-01" => Some(format!("a quorum is left ({quorum} of {voters}) while at most {spare} voters are lost")),
        "PAR-02" | "PAR-03" => {
            let apart = sides(deployment).map(|side| half(&layout, deployment, &side));
            Some(format!("apart, {}", apart.join(", and ")))
        }
        "AVL-04" => Some(without(&layout, "and one more gateway in maintenance", |loss| loss.shares_in_maintenance)),
        "AVL-05" => Some(without(&layout, "", |loss| loss.shares)),
        _ => None,
    }
}

/// What the numbers of sites, zones and replicas say, of the site that the story is about.
fn of_sites(id: &str, deployment: &Deployment) -> Option<String> {
    let sites = &deployment.sites;
    match id {
        "AVL-01" => {
            let told = sites.iter().find(|site| site.replicas >= 2).or(sites.first())?;
            let (name, replicas) = (&told.name, told.replicas);
            let left = replicas.saturating_sub(1);
            Some(format!(
                "{left} of {replicas} replicas of `{name}` are left until a successor of a lost one serves (K2)"
            ))
        }
        "AVL-02" => {
            let site = sites.iter().find(|site| site.used_zones() >= 2).or(sites.first())?;
            let (name, replicas, zones, left) =
                (&site.name, site.replicas, site.used_zones(), left_without_a_zone(site));
            Some(if left == 0 {
                format!("all replicas of `{name}` are in zone `{}`: nobody is left without it", site.zone_of(1))
            } else {
                format!(
                    "without any one of its {zones} zones at least {left} of {replicas} replicas of `{name}` are left"
                )
            })
        }
        "BAL-01" => {
            let uneven = sites.iter().find(|site| !evenly_spread(site))?;
            let each = per_zone(uneven).into_iter().map(|count| count.to_string()).collect::<Vec<_>>().join(" and ");
            let name = &uneven.name;
            Some(format!("`{name}` has {each} replicas in its zones: even over replicas is not even over zones (K3)"))
        }
        _ => None,
    }
}

/// Replicas in each zone of a site that has any, in the order of its zones.
fn per_zone(site: &Site) -> Vec<usize> {
    let of = |zone: &String| (1..=site.replicas).filter(|index| site.zone_of(*index) == zone).count();
    site.zones.iter().map(of).filter(|count| *count > 0).collect()
}

fn left_without_a_zone(site: &Site) -> usize {
    let zones = per_zone(site);
    let all: usize = zones.iter().sum();
    zones.into_iter().map(|lost| all.saturating_sub(lost)).min().unwrap_or_default()
}

fn evenly_spread(site: &Site) -> bool {
    let zones = per_zone(site);
    zones.iter().all(|count| Some(count) == zones.first())
}

/// `` `eu` has a quorum (3 of 5)``.
fn half(layout: &Layout, deployment: &Deployment, side: &[String]) -> String {
    let size = voters_of(deployment, side);
    let names: Vec<String> = side.iter().map(|name| format!("`{name}`")).collect();
    let has = if size >= layout.quorum() { "has a quorum" } else { "has none" };
    format!("{} {has} ({size} of {})", names.join(" with "), layout.voters())
}

/// What is left of sharing when a site is lost. Traffic never needs a quorum.
fn without(layout: &Layout, besides: &str, shares: impl Fn(&SiteLoss) -> bool) -> String {
    let losses = layout.site_losses();
    let (kept, gone): (Vec<&SiteLoss>, Vec<&SiteLoss>) = losses.iter().partition(|loss| shares(loss));
    let named = |losses: &[&SiteLoss]| -> String {
        losses.iter().map(|loss| format!("`{}`", loss.site)).collect::<Vec<_>>().join(" or ")
    };
    let besides = if besides.is_empty() { String::new() } else { format!(" {besides}") };
    match (kept.is_empty(), gone.is_empty()) {
        (_, true) => format!("traffic needs no quorum; state stays shared without any one site{besides}"),
        (true, false) => {
            format!("traffic needs no quorum; state is not shared without any one site{besides}: a predicted limit")
        }
        (false, false) => format!(
            "traffic needs no quorum; state stays shared without {}{besides}, and is not without {}: a predicted limit",
            named(&kept),
            named(&gone)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::sample::deployment;
    use gatecrash_model::deployment::Peering;
    use std::time::Duration;
    use test_case::test_case;

    fn group(replicas: [u32; 2]) -> Deployment {
        let mut deployment = deployment();
        deployment.peering = Some(Peering { failover: Duration::from_secs(10) });
        for (site, replicas) in deployment.sites.iter_mut().zip(replicas) {
            site.replicas = replicas;
        }
        deployment
    }

    #[test_case("PAR-01", [3, 2], "a quorum is left (3 of 5) while at most 2 voters are lost")]
    #[test_case("PAR-02", [3, 2], "apart, `eu` has a quorum (3 of 5), and `us` has none (2 of 5)")]
    #[test_case("PAR-03", [3, 3], "apart, `eu` has none (3 of 6), and `us` has none (3 of 6)")]
    #[test_case("AVL-05", [3, 2], "traffic needs no quorum; state stays shared without `us`, and is not without `eu`: a predicted limit")]
    #[test_case("AVL-04", [3, 2], "traffic needs no quorum; state is not shared without any one site and one more gateway in maintenance: a predicted limit")]
    #[test_case("AVL-04", [5, 2], "traffic needs no quorum; state stays shared without `us` and one more gateway in maintenance, and is not without `eu`: a predicted limit")]
    #[test_case("QUO-03", [3, 2], "shared: of 5 voters 3 decide, and no more than 2 are ever away")]
    fn arithmetic_in_words(id: &str, replicas: [u32; 2], expected: &str) {
        assert_eq!(predicted(id, &group(replicas)).as_deref(), Some(expected));
    }

    fn spread(zones: &[&str], replicas: u32) -> Deployment {
        let mut deployment = deployment();
        for site in &mut deployment.sites {
            site.zones = zones.iter().map(|zone| (*zone).to_owned()).collect();
            site.replicas = replicas;
        }
        deployment
    }

    #[test_case("AVL-01", &["a", "b"], 2, "1 of 2 replicas of `eu` are left until a successor of a lost one serves (K2)")]
    #[test_case("AVL-02", &["a", "b"], 3, "without any one of its 2 zones at least 1 of 3 replicas of `eu` are left")]
    #[test_case("AVL-02", &["a"], 3, "all replicas of `eu` are in zone `a`: nobody is left without it")]
    #[test_case("AVL-02", &["a", "b"], 1, "all replicas of `eu` are in zone `a`: nobody is left without it")]
    #[test_case("BAL-01", &["a", "b"], 3, "`eu` has 2 and 1 replicas in its zones: even over replicas is not even over zones (K3)")]
    fn sites_zones_and_replicas_in_words(id: &str, zones: &[&str], replicas: u32, expected: &str) {
        assert_eq!(predicted(id, &spread(zones, replicas)).as_deref(), Some(expected));
    }

    #[test]
    fn even_zones_leave_nothing_to_say_also_where_some_are_empty() {
        for (zones, replicas) in [(&["a", "b"][..], 4), (&["a", "b", "c"], 2), (&["a"], 3)] {
            assert_eq!(predicted("BAL-01", &spread(zones, replicas)), None, "{zones:?}");
        }
    }

    #[test]
    fn the_site_that_a_story_is_about_is_the_one_that_is_told() {
        let mut deployment = spread(&["a", "b"], 3);
        deployment.sites[0].replicas = 1;
        let said = |id: &str| predicted(id, &deployment).unwrap();
        assert!(said("AVL-01").starts_with("2 of 3 replicas of `us`"), "{}", said("AVL-01"));
        assert!(said("AVL-02").ends_with("1 of 3 replicas of `us` are left"), "{}", said("AVL-02"));
    }

    #[test]
    fn nothing_is_said_without_a_group_or_of_other_claims() {
        assert_eq!(predicted("PAR-01", &deployment()), None);
        assert_eq!(predicted("LAT-01", &group([3, 2])), None);
    }
}
