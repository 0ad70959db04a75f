// SPDX-License-Identifier: Apache-2.0
//! The API server, the kinds it serves, and the versions of the programs.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use super::Verdict;
use crate::{
    finding::Finding,
    picture::Picture,
    snapshot::{Gap, Named, objects::component},
};

/// `matchConditions` and `ValidatingAdmissionPolicy` are settled from here on.
const LEAST_MINOR: u32 = 31;
/// The label of the chart by which a pod tells its version.
const VERSION_LABEL: &str = "app.kubernetes.io/version";

/// GH001.
pub(super) fn version(picture: &Picture<'_>) -> Verdict {
    let version = match &picture.snapshot.questions.version {
        Ok(version) => version,
        Err(gap) => return Verdict::skipped(gap),
    };
    if (version.major, version.minor) >= (1, LEAST_MINOR) {
        return Verdict::Good(version.text.clone());
    }
    Verdict::Found(vec![
        Finding::error(1, "API server", "/version")
            .says(format!("it is {}; Gateherald needs v1.{LEAST_MINOR} or newer", version.text))
            .mend(format!("Upgrade Kubernetes to v1.{LEAST_MINOR} or newer.")),
    ])
}

/// GH002.
pub(super) fn gateway_api(picture: &Picture<'_>) -> Verdict {
    match &picture.snapshot.gateways.gap {
        None => Verdict::Found(Vec::new()),
        Some(Gap::Absent(_)) => Verdict::Found(vec![
            Finding::error(2, "CustomResourceDefinition gateways.gateway.networking.k8s.io", "spec.versions")
                .says("the API server does not serve gateway.networking.k8s.io/v1")
                .mend("Install the CRDs of the Gateway API, v1.0 or newer, as your Gateway controller asks."),
        ]),
        Some(gap) => Verdict::skipped(gap),
    }
}

/// GH003.
pub(super) fn policy_kinds(picture: &Picture<'_>) -> Verdict {
    let (ours, ciliums) = (&picture.snapshot.policies, &picture.snapshot.cilium_policies);
    if let Some(gap) = ours.unknown().filter(|_| ciliums.gap.is_some()) {
        return Verdict::skipped(gap);
    }
    match (&ours.gap, &ciliums.gap) {
        (Some(_), Some(_)) => Verdict::Found(vec![
            Finding::error(3, "CustomResourceDefinition l2announcementpolicies.gateherald.io", "")
                .says("neither L2AnnouncementPolicy nor CiliumL2AnnouncementPolicy is served")
                .mend("Set crds.enabled of the chart to true, so that it installs its CRD."),
        ]),
        (None, None) => Verdict::Good("Gateherald's and Cilium's".to_owned()),
        (None, Some(_)) => Verdict::Good("Gateherald's".to_owned()),
        (Some(_), None) => Verdict::Good("Cilium's".to_owned()),
    }
}

/// GH004.
pub(super) fn versions(picture: &Picture<'_>) -> Verdict {
    if let Some(gap) = picture.snapshot.pods.unknown() {
        return Verdict::skipped(gap);
    }
    let own = env!("CARGO_PKG_VERSION");
    let found: BTreeSet<(String, String)> = picture
        .snapshot
        .pods
        .items
        .iter()
        .filter(|pod| component(pod).is_some())
        .filter_map(|pod| Some((version_of(pod)?, pod.full_name())))
        .filter(|(version, _)| version != own)
        .collect();
    let finding = |(version, pod): (String, String)| {
        Finding::warning(4, format!("Pod {pod}"), "spec.containers[].image")
            .says(format!("it is of version {version}, and this plugin is {own}"))
            .mend(format!("Upgrade the older one: helm upgrade, or the plugin to {version}."))
    };
    // One of each version is enough to tell.
    let mut seen = BTreeSet::new();
    Verdict::Found(
        found.into_iter().filter(|(version, _)| seen.insert(version.clone())).map(finding).collect(),
    )
}

/// By its label, else by the tag of its image; an image that is pinned by digest alone says nothing.
fn version_of(pod: &Pod) -> Option<String> {
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get(VERSION_LABEL));
    let image = || {
        let image = pod.spec.as_ref()?.containers.first()?.image.as_deref()?;
        let (_, tag) = image.split('@').next()?.rsplit_once(':')?;
        (!tag.contains('/')).then(|| tag.trim_start_matches('v').to_owned())
    };
    label.cloned().or_else(image)
}

/// GH026.
pub(super) fn label_rules(picture: &Picture<'_>) -> Verdict {
    if let Some((map, why)) = &picture.settings.bad_rules {
        return Verdict::Found(vec![
            Finding::error(26, format!("ConfigMap {map}"), "data[rules.yaml]")
                .says(format!("the label rules cannot be used: {why}"))
                .mend("Mend webhook.labelRules of the chart; until then the last good rules are in force."),
        ]);
    }
    match picture.snapshot.config_maps.unknown() {
        Some(gap) => Verdict::Skipped(format!("{gap}; the default rules are assumed")),
        None => Verdict::Found(Vec::new()),
    }
}
