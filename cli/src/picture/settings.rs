// SPDX-License-Identifier: Apache-2.0
//! What the installation was told to do: label rules, and the flags of the announcer.

use gateherald_model::{announcement, rules::Rules};
use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::ConfigMap};

use crate::snapshot::{Named, Snapshot};

/// How the name of the chart's `ConfigMap` ends that holds the label rules, and the key in it.
const LABEL_RULES: (&str, &str) = ("-label-rules", "rules.yaml");
/// The name of the container that announces, in the chart's `DaemonSet`.
const ANNOUNCER: &str = "announcer";
/// Cilium's configuration.
const CILIUM_CONFIG: &str = "cilium-config";

/// What is known of it. Where nothing could be read, the defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Which labels go onto Services.
    pub(crate) rules: Rules,
    /// Rules that are there and cannot be used: the `ConfigMap`, and why.
    pub(crate) bad_rules: Option<(String, String)>,
    /// What the announcers go by.
    pub(crate) announcing: announcement::Rules,
    /// The announcer's `DaemonSet` was seen: `namespace/name`.
    pub(crate) announcer: Option<String>,
    /// `--on-api-outage=fence`.
    pub(crate) fence: bool,
    /// `--cilium-policies`, as it is written; `auto` by default.
    pub(crate) cilium_policies: String,
    /// `cilium-config` has `enable-l2-announcements: "true"`.
    pub(crate) cilium_announces: bool,
}

impl Settings {
    /// Reads them; `rules` of a file win.
    pub(crate) fn read(snapshot: &Snapshot, rules: Option<&Rules>) -> Self {
        let mut settings = Self { cilium_policies: "auto".to_owned(), ..Self::default() };
        match (rules, snapshot.config_maps.items.iter().find_map(label_rules)) {
            (Some(rules), _) => settings.rules = rules.clone(),
            (None, Some((_, Ok(rules)))) => settings.rules = rules,
            (None, Some((name, Err(why)))) => settings.bad_rules = Some((name, why)),
            (None, None) => {}
        }
        settings.cilium_announces = snapshot.config_maps.items.iter().any(|map| {
            let data = map.data.as_ref().filter(|_| map.key().1 == CILIUM_CONFIG);
            data.and_then(|data| data.get("enable-l2-announcements")).is_some_and(|value| value == "true")
        });
        if let Some(set) = snapshot.daemon_sets.items.iter().find(|set| is_announcer(set)) {
            settings.announcer = Some(set.full_name());
            settings.take_flags(&arguments(set));
        }
        settings
    }

    fn take_flags(&mut self, arguments: &[String]) {
        let list = |flag: &str| {
            let text = value(arguments, flag).unwrap_or_default();
            text.split(',').filter(|entry| !entry.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        self.announcing = announcement::Rules {
            load_balancer_classes: list("--load-balancer-classes").into_iter().collect(),
            external_ip_cidrs: list("--external-ip-cidrs")
                .iter()
                .filter_map(|net| net.parse().ok())
                .collect(),
            honor_exclude_label: arguments.iter().any(|argument| argument == "--honor-exclude-label"),
        };
        self.fence = value(arguments, "--on-api-outage").as_deref() == Some("fence");
        self.cilium_policies = value(arguments, "--cilium-policies").unwrap_or_else(|| "auto".to_owned());
    }
}

fn label_rules(map: &ConfigMap) -> Option<(String, Result<Rules, String>)> {
    let (name, key) = LABEL_RULES;
    let text = map.data.as_ref().filter(|_| map.key().1.ends_with(name))?.get(key)?;
    Some((map.full_name(), Rules::parse(text).map_err(|error| error.to_string())))
}

/// Whether it is the chart's: by its labels, or by its name where a file has none.
fn is_announcer(set: &DaemonSet) -> bool {
    let label =
        |key: &str| set.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    let ours = label("app.kubernetes.io/part-of") == Some("gateherald");
    (ours && label("app.kubernetes.io/component") == Some(ANNOUNCER)) || set.key().1 == "gateherald-announcer"
}

/// Command and arguments of all containers.
pub(crate) fn arguments(set: &DaemonSet) -> Vec<String> {
    let template = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let containers = template.map(|pod| pod.containers.as_slice()).unwrap_or_default();
    containers.iter().flat_map(|c| c.command.iter().chain(&c.args).flatten().cloned()).collect()
}

/// The value of `--flag=value` or `--flag value`.
fn value(arguments: &[String], flag: &str) -> Option<String> {
    arguments.iter().enumerate().find_map(|(at, argument)| {
        let rest = argument.strip_prefix(flag)?;
        if rest.is_empty() {
            arguments.get(at + 1).cloned()
        } else {
            rest.strip_prefix('=').map(str::to_owned)
        }
    })
}
