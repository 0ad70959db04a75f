// SPDX-License-Identifier: Apache-2.0
//! What a person asks about: a Gateway, a Service, an address, or everything.

use std::net::IpAddr;

use anyhow::bail;

use crate::{near, trace::Trace};

/// It.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// All there is.
    Everything,
    /// An address.
    Address(IpAddr),
    /// Gateways of this name.
    Gateway(Name),
    /// Services of this name.
    Service(Name),
    /// Gateways, or if there is none Services.
    Any(Name),
}

/// A name, and the namespace if one was given or is the context's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

impl Subject {
    /// Reads what was typed; `namespace` is where names are looked up first.
    pub(crate) fn parse(text: Option<&str>, namespace: Option<&str>) -> anyhow::Result<Self> {
        let Some(text) = text else { return Ok(Self::Everything) };
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let name = |name: &str| Name { namespace: namespace.map(str::to_owned), name: name.to_owned() };
        let Some((kind, rest)) = text.split_once('/') else { return Ok(Self::Any(name(text))) };
        match kind.to_ascii_lowercase().as_str() {
            "gateway" | "gateways" | "gtw" | "gateways.gateway.networking.k8s.io" => {
                Ok(Self::Gateway(name(rest)))
            }
            "service" | "services" | "svc" => Ok(Self::Service(name(rest))),
            "vip" | "address" | "ip" => match rest.parse() {
                Ok(address) => Ok(Self::Address(address)),
                Err(_) => bail!("{rest:?} is no address"),
            },
            _ => {
                bail!("{kind:?} is no kind that this is about: use gateway/NAME, service/NAME or an address")
            }
        }
    }

    /// The chains that it is about. None at all is an error, with what comes close.
    pub(crate) fn choose<'t>(&self, traces: &'t [Trace]) -> anyhow::Result<Vec<&'t Trace>> {
        let found: Vec<&Trace> = match self {
            Self::Everything => return Ok(traces.iter().collect()),
            Self::Address(address) => traces
                .iter()
                .filter(|trace| trace.addresses.iter().any(|a| a.address == Some(*address)))
                .collect(),
            Self::Gateway(name) => name.find(traces, gateway),
            Self::Service(name) => name.find(traces, service),
            Self::Any(name) => {
                let gateways = name.find(traces, gateway);
                if gateways.is_empty() { name.find(traces, service) } else { gateways }
            }
        };
        if found.is_empty() {
            bail!("{}", self.not_found(traces));
        }
        Ok(found)
    }

    fn not_found(&self, traces: &[Trace]) -> String {
        let (what, name) = match self {
            Self::Everything => return "there is nothing".to_owned(),
            Self::Address(address) => return format!("no Service has the address {address}"),
            Self::Gateway(name) => ("Gateway", name),
            Self::Service(name) => ("Service of a Gateway, and none that has or wants an address,", name),
            Self::Any(name) => ("Gateway and no Service", name),
        };
        let names = traces.iter().flat_map(|trace| [gateway(trace), service(trace)]).flatten();
        let mut near: Vec<String> = names
            .filter(|(_, other)| *other == name.name || near::is_close(other, &name.name))
            .map(|(namespace, other)| format!("{namespace}/{other}"))
            .collect();
        near.sort();
        near.dedup();
        let place = name.namespace.as_ref().map_or_else(String::new, |n| format!(" in namespace {n}"));
        let hint =
            if near.is_empty() { String::new() } else { format!("; there is {} (see -n)", near.join(", ")) };
        format!("no {what} is called {}{place}{hint}", name.name)
    }
}

impl Name {
    fn find<'t>(
        &self,
        traces: &'t [Trace],
        key: impl Fn(&Trace) -> Option<(String, String)>,
    ) -> Vec<&'t Trace> {
        let called = |trace: &&Trace| key(trace).is_some_and(|(_, name)| name == self.name);
        let here = |trace: &&Trace| {
            self.namespace.is_none() || key(trace).map(|(namespace, _)| namespace) == self.namespace
        };
        traces.iter().filter(called).filter(here).collect()
    }
}

fn gateway(trace: &Trace) -> Option<(String, String)> {
    trace.gateway.clone()
}

fn service(trace: &Trace) -> Option<(String, String)> {
    trace.service.as_ref().map(|key| (key.namespace.clone(), key.name.clone()))
}

#[cfg(test)]
mod tests;
