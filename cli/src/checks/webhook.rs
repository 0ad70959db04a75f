// SPDX-License-Identifier: Apache-2.0
//! The webhook: its registration, its endpoints, and whether it does what it is for.

use gateherald_model::service::ServiceKey;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhook;

use super::Verdict;
use crate::{
    finding::Finding,
    picture::Picture,
    snapshot::{Named, questions::Served},
};

/// The name of the entry, which never changes.
const ENTRY: &str = "services.gateherald.io";
/// Namespace and name of the Service when nothing is registered.
const DEFAULT_SERVICE: (&str, &str) = ("gateherald-system", "gateherald-webhook");

/// The registration, and our entry in it.
pub(super) fn entry<'a>(picture: &Picture<'a>) -> Option<(String, &'a MutatingWebhook)> {
    picture.snapshot.registrations.items.iter().find_map(|configuration| {
        let entry = configuration.webhooks.iter().flatten().find(|entry| entry.name == ENTRY)?;
        Some((configuration.full_name(), entry))
    })
}

fn object(name: &str) -> String {
    format!("MutatingWebhookConfiguration {name}")
}

/// GH010.
pub(super) fn registered(picture: &Picture<'_>) -> Verdict {
    if let Some(gap) = picture.snapshot.registrations.unknown() {
        return Verdict::skipped(gap);
    }
    if entry(picture).is_some() {
        return Verdict::Found(Vec::new());
    }
    Verdict::Found(vec![
        Finding::error(10, object("gateherald-webhook"), format!("webhooks[{ENTRY}]"))
            .says("the API server does not know the webhook: no Service gets labels")
            .mend("Set webhook.enabled of the chart to true and run helm upgrade."),
    ])
}

/// GH011.
pub(super) fn endpoints(picture: &Picture<'_>) -> Verdict {
    if let Some(gap) = picture.snapshot.registrations.unknown().or(picture.snapshot.slices.unknown()) {
        return Verdict::skipped(gap);
    }
    let Some((_, entry)) = entry(picture) else {
        return Verdict::Skipped("it is not registered (GH010)".to_owned());
    };
    let (namespace, name) = match &entry.client_config.service {
        Some(service) => (service.namespace.as_str(), service.name.as_str()),
        None => DEFAULT_SERVICE,
    };
    if let Some(scope) = picture.snapshot.scope.as_deref().filter(|scope| *scope != namespace) {
        return Verdict::Skipped(format!("only namespace {scope} was looked at"));
    }
    let ready = picture.ready.get(&ServiceKey::new(namespace, name)).copied().unwrap_or_default();
    match ready {
        0 => Verdict::Found(vec![
            Finding::error(
                11,
                format!("Service {namespace}/{name}"),
                "EndpointSlice endpoints[].conditions.ready",
            )
            .says("no webhook replica is ready: Services are created without their labels")
            .mend(format!("See why: kubectl get pods -n {namespace} -l app.kubernetes.io/component=webhook")),
        ]),
        1 => Verdict::Found(vec![
            Finding::warning(
                11,
                format!("Service {namespace}/{name}"),
                "EndpointSlice endpoints[].conditions.ready",
            )
            .says("one replica is ready: while it restarts, Services are created without their labels")
            .mend("Set webhook.replicas of the chart to 2 or more."),
        ]),
        ready => Verdict::Good(format!("{ready} of them")),
    }
}

/// GH012.
pub(super) fn served(picture: &Picture<'_>) -> Verdict {
    let served = match &picture.snapshot.questions.served {
        Ok(served) => served,
        Err(gap) => return Verdict::skipped(gap),
    };
    let bad = |served: &Served| {
        let why = served.leaf.as_ref().err()?;
        Some(
            Finding::error(12, format!("Pod {}", served.pod), "certificate of port 8443")
                .says(format!("the registered CA bundle does not verify what it serves: {why}"))
                .mend(
                    "See webhooks[services.gateherald.io].clientConfig.caBundle and the webhook's log: in mode auto it mends \
                     the bundle itself; otherwise renew bundle and certificate together.",
                ),
        )
    };
    if served.is_empty() {
        return Verdict::Skipped("no webhook pod could be asked".to_owned());
    }
    Verdict::Found(served.iter().filter_map(bad).collect())
}

/// GH014.
pub(super) fn registration(picture: &Picture<'_>) -> Verdict {
    if let Some(gap) = picture.snapshot.registrations.unknown() {
        return Verdict::skipped(gap);
    }
    let Some((name, entry)) = entry(picture) else {
        return Verdict::Skipped("it is not registered (GH010)".to_owned());
    };
    let upgrade = "Run helm upgrade with the chart as it is: it renders this field.";
    let mut findings = Vec::new();
    let mut find = |error: bool, field: &str, says: &str| {
        let field = format!("webhooks[{ENTRY}].{field}");
        let make = if error { Finding::error } else { Finding::warning };
        findings.push(make(14, object(&name), field).says(says).mend(upgrade));
    };
    if entry.failure_policy.as_deref() != Some("Ignore") {
        find(
            true,
            "failurePolicy",
            "it is not Ignore: while the webhook is away, no Service of a Gateway can be written",
        );
    }
    let asks = |operation: &str| {
        entry.rules.iter().flatten().any(|rule| {
            let has = |list: &Option<Vec<String>>, wanted: &str| {
                list.iter().flatten().any(|entry| entry == wanted || entry == "*")
            };
            has(&rule.resources, "services") && has(&rule.operations, operation)
        })
    };
    if !asks("CREATE") || !asks("UPDATE") {
        find(true, "rules", "it does not ask for CREATE and UPDATE of services");
    }
    let conditions = entry.match_conditions.as_deref().unwrap_or_default();
    if conditions.is_empty() {
        find(false, "matchConditions", "there are none: every Service of the cluster costs a call");
    } else if !conditions.iter().any(|c| c.expression.contains("gateway.networking.k8s.io")) {
        find(true, "matchConditions", "they do not let the Services of Gateways through");
    }
    if entry.timeout_seconds.is_some_and(|seconds| seconds > 10) {
        find(
            false,
            "timeoutSeconds",
            "it is over 10 s: a webhook that hangs makes every write wait for so long",
        );
    }
    if entry.client_config.ca_bundle.as_ref().is_none_or(|bundle| bundle.0.is_empty()) {
        find(true, "clientConfig.caBundle", "it is empty: no call can succeed");
    }
    Verdict::Found(findings)
}

/// GH015.
pub(super) fn dry_run(picture: &Picture<'_>) -> Verdict {
    let run = match &picture.snapshot.questions.dry_run {
        Ok(run) => run,
        Err(gap) => return Verdict::skipped(gap),
    };
    let (namespace, name) = &run.gateway;
    let missing: Vec<String> = run
        .expected
        .iter()
        .filter(|(key, value)| run.got.get(*key) != Some(*value))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if missing.is_empty() {
        return Verdict::Good(format!("for Gateway {namespace}/{name}"));
    }
    Verdict::Found(vec![
        Finding::error(15, format!("Gateway {namespace}/{name}"), "metadata.labels")
            .says(format!("a Service of it that was created as a dry run did not get {}", missing.join(", ")))
            .mend("See GH010 to GH014, and the namespaces that webhook.namespaceSelector and excludedNamespaces leave out."),
    ])
}

/// GH016.
pub(super) fn fail_open(picture: &Picture<'_>) -> Verdict {
    match &picture.snapshot.questions.fail_open {
        Err(gap) => Verdict::skipped(gap),
        Ok(0) => Verdict::Found(Vec::new()),
        Ok(count) => Verdict::Found(vec![
            Finding::warning(16, "API server", "apiserver_admission_webhook_fail_open_count")
                .says(format!("since its start it let {count} request{} pass without the webhook's answer", if *count == 1 { "" } else { "s" }))
                .mend(
                    "Nothing for the past: the webhook's leader labels such Services later. When the number grows, see GH011 \
                     and GH012.",
                ),
        ]),
    }
}
