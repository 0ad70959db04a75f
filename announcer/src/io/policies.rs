// SPDX-License-Identifier: Apache-2.0
//! Applying the policies that come with the release: what the chart's Job does.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, bail};
use gateherald_model::crd::L2AnnouncementPolicy;
use gateherald_runtime::{
    insist::insist,
    request::{ATTEMPT, RequestError, limited},
};
use k8s_openapi::{api::rbac::v1::ClusterRole, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, ValidationDirective},
};
use serde_json::Value;
use tracing::info;

use crate::{
    args::ApplyArgs,
    provision::{APPLIED_BY, Wanted, plan},
};

/// Between two attempts while the kind is not served, or RBAC not in force, yet.
const PAUSE: Duration = Duration::from_secs(1);
const MANAGER: &str = "gateherald-policies";
const KIND: &str = "l2announcementpolicies.gateherald.io";

/// Applies the policies of the file and deletes those that an earlier file had.
pub async fn apply(client: &Client, asked: &ApplyArgs) -> anyhow::Result<()> {
    let wanted = read(asked).with_context(|| format!("policies of {}", asked.file.display()))?;
    let policies: Api<L2AnnouncementPolicy> = Api::all(client.clone());
    let (present, owner) = insist(Duration::from_secs(asked.timeout.into()), PAUSE, async || {
        Ok((present(&policies).await?, owner(client, &asked.owner).await?))
    })
    .await?;
    let steps = plan(&wanted, &present, &owner)?;
    for object in &steps.apply {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        write(&policies, name, object).await?;
        info!(name, "applied");
    }
    for name in &steps.delete {
        let end = limited(ATTEMPT, policies.delete(name, &DeleteParams::default())).await;
        end.map_err(|error| anyhow::anyhow!(error.explain("delete", &format!("{KIND} {name}"))))?;
        info!(name, "deleted: the values no longer have it");
    }
    Ok(())
}

fn read(asked: &ApplyArgs) -> anyhow::Result<Vec<Wanted>> {
    Ok(serde_json::from_slice(&std::fs::read(&asked.file)?)?)
}

async fn present(policies: &Api<L2AnnouncementPolicy>) -> Result<BTreeMap<String, Option<String>>, String> {
    let all = limited(ATTEMPT, policies.list_metadata(&ListParams::default())).await;
    let all = all.map_err(|error| error.explain("list", KIND))?;
    let named = all.items.into_iter().filter_map(|policy| {
        let by = policy.metadata.labels.unwrap_or_default().remove(APPLIED_BY);
        Some((policy.metadata.name?, by))
    });
    Ok(named.collect())
}

async fn owner(client: &Client, name: &str) -> Result<OwnerReference, String> {
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let role = limited(ATTEMPT, roles.get_metadata(name)).await;
    let role = role.map_err(|error| error.explain("get", &format!("clusterroles {name}")))?;
    Ok(OwnerReference {
        api_version: "rbac.authorization.k8s.io/v1".into(),
        kind: "ClusterRole".into(),
        name: name.into(),
        uid: role.metadata.uid.unwrap_or_default(),
        ..OwnerReference::default()
    })
}

async fn write(policies: &Api<L2AnnouncementPolicy>, name: &str, object: &Value) -> anyhow::Result<()> {
    let mut params = PatchParams::apply(MANAGER).force();
    params.field_validation = Some(ValidationDirective::Strict);
    let answer = limited(ATTEMPT, policies.patch(name, &params, &Patch::Apply(object))).await;
    match answer {
        Ok(_) => Ok(()),
        // The API server's words say which field of which policy.
        Err(RequestError::Failed(kube::Error::Api(status))) if matches!(status.code, 400 | 422) => {
            bail!("announcer.policies.{name}: {}", status.message)
        }
        Err(error) => bail!(error.explain("apply", &format!("{KIND} {name}"))),
    }
}
