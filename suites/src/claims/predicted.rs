//! What does arithmetic over the topology say of a claim before anything runs (K4)? Printed in the plan, and beside the standing.

use super::peering::{sides, voters_of};
use gatecrash_model::Deployment;
use gatecrash_model::quorum::{Layout, SiteLoss};

/// What the layout of a group of gateways lets expect of the claim `id`, one sentence; `None` where it says nothing of it.
pub(crate) fn predicted(id: &str, deployment: &Deployment) -> Option<String> {
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

    #[test]
    fn nothing_is_said_without_a_group_or_of_other_claims() {
        assert_eq!(predicted("PAR-01", &deployment()), None);
        assert_eq!(predicted("LAT-01", &group([3, 2])), None);
    }
}
