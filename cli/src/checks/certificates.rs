// SPDX-License-Identifier: Apache-2.0
//! How long the webhook's certificates are valid.

use jiff::Timestamp;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Verdict, webhook};
use crate::{finding::Finding, picture::Picture};

const DAY: i64 = 24 * 3600;
/// A CA of a year is renewed when a third is left: one that has less than this is not being renewed.
const CA_DAYS: i64 = 30;
/// A leaf of 7 days is renewed when a third is left.
const LEAF_DAYS: i64 = 1;

/// GH013.
pub(super) fn days_left(picture: &Picture<'_>) -> Verdict {
    if let Some(gap) = picture.snapshot.registrations.unknown() {
        return Verdict::skipped(gap);
    }
    let Some((name, entry)) = webhook::entry(picture) else {
        return Verdict::Skipped("it is not registered (GH010)".to_owned());
    };
    let now = picture.snapshot.now;
    let bundle = entry.client_config.ca_bundle.as_ref().map(|bundle| bundle.0.clone()).unwrap_or_default();
    let ends: Vec<Timestamp> =
        pem::parse_many(&bundle).unwrap_or_default().iter().filter_map(|c| not_after(c.contents())).collect();
    let object = format!("MutatingWebhookConfiguration {name}");
    let field = "webhooks[services.gateherald.io].clientConfig.caBundle";
    let Some(newest) = ends.iter().max() else {
        return Verdict::Found(vec![
            Finding::error(13, object, field)
                .says("it holds no readable certificate")
                .mend("In mode auto, delete the field: the webhook writes it again. Otherwise mend the value you gave."),
        ]);
    };
    let mut findings = Vec::new();
    findings.extend(judge(object, field, days(now, *newest), CA_DAYS));
    for served in picture.snapshot.questions.served.iter().flatten() {
        let end = served.leaf.as_ref().ok().and_then(|der| not_after(der));
        let left = end.map(|end| days(now, end));
        findings.extend(left.and_then(|left| {
            judge(format!("Pod {}", served.pod), "certificate of port 8443", left, LEAF_DAYS)
        }));
    }
    if findings.is_empty() {
        return Verdict::Good(format!("{} days left", days(now, *newest)));
    }
    Verdict::Found(findings)
}

fn judge(object: String, field: &str, left: i64, enough: i64) -> Option<Finding> {
    let mend = "See why it is not renewed in the webhook's log: kubectl logs -A -l app.kubernetes.io/component=webhook";
    if left < 0 {
        return Some(
            Finding::error(13, object, field).says("it has expired: no call can succeed").mend(mend),
        );
    }
    (left < enough).then(|| {
        Finding::warning(13, object, field)
            .says(format!("it expires in {left} days, and should have been renewed by now"))
            .mend(mend)
    })
}

/// Whole days; negative when it is over.
fn days(now: Timestamp, end: Timestamp) -> i64 {
    (end.as_second() - now.as_second()).div_euclid(DAY)
}

fn not_after(der: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}
