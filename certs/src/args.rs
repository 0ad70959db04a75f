// SPDX-License-Identifier: Apache-2.0
//! The flags of the certificates.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jiff::SignedDuration;
use serde::{Serialize, Serializer};

use crate::lifetimes::{Lifetimes, LifetimesError};

/// Where the served certificate comes from, and for how long its makers make it.
#[derive(Args, Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateArgs {
    /// Where the served certificate comes from
    #[arg(long, value_enum, default_value_t = Mode::Auto, value_name = "MODE")]
    pub certificates: Mode,

    /// Directory of tls.crt and tls.key (a mounted Secret), unless certificates are made here
    #[arg(long, default_value = "/etc/gateherald/tls", value_name = "PATH")]
    pub certificate_dir: PathBuf,

    /// Secret that holds the CA; created when missing
    #[arg(long, default_value = "gateherald-webhook-ca", value_name = "NAME")]
    pub ca_secret: String,

    /// How long a CA lives; its successor is made when a third is left. Durations are like 8760h, 5m or 1m30s
    #[arg(long, default_value = "8760h", value_name = "DURATION")]
    #[serde(serialize_with = "as_flag")]
    pub ca_lifetime: SignedDuration,

    /// How long a leaf lives; it is renewed when a third is left
    #[arg(long, default_value = "168h", value_name = "DURATION")]
    #[serde(serialize_with = "as_flag")]
    pub leaf_lifetime: SignedDuration,

    /// How long a CA must have been in the live CA bundle before its leaves are served
    #[arg(long, default_value = "1m", value_name = "DURATION")]
    #[serde(serialize_with = "as_flag")]
    pub ca_settle: SignedDuration,

    /// By how much a machine's clock may be wrong
    #[arg(long, default_value = "5m", value_name = "DURATION")]
    #[serde(serialize_with = "as_flag")]
    pub max_clock_skew: SignedDuration,
}

/// Where certificates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// From a CA of the webhook's own, which it keeps in a Secret and in the registration.
    Auto,
    /// From a Secret that cert-manager writes; its injector keeps the registration's CA bundle.
    CertManager,
    /// From a Secret that somebody writes; the registration's CA bundle is written with it.
    Provided,
}

impl CertificateArgs {
    /// The lifetimes, if they go together.
    pub fn lifetimes(&self) -> Result<Lifetimes, LifetimesError> {
        let lifetimes = Lifetimes {
            ca: self.ca_lifetime,
            leaf: self.leaf_lifetime,
            settle: self.ca_settle,
            clock_skew: self.max_clock_skew,
        };
        lifetimes.check().map(|()| lifetimes)
    }
}

/// A duration as a flag takes it.
fn as_flag<S: Serializer>(duration: &SignedDuration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{duration:#}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        certificates: CertificateArgs,
    }

    #[test]
    fn without_flags_everything_is_as_documented() {
        let args = Program::try_parse_from(["program"]).unwrap().certificates;
        assert_eq!(args.certificates, Mode::Auto);
        assert_eq!(args.lifetimes(), Ok(Lifetimes::DEFAULT));
    }

    #[test]
    fn modes_and_durations_are_read_as_they_are_written_elsewhere() {
        let args =
            ["program", "--certificates", "cert-manager", "--ca-lifetime=90m", "--leaf-lifetime", "10m"];
        let more = ["--ca-settle=1m30s", "--max-clock-skew=0s"];
        let args = Program::try_parse_from(args.iter().chain(&more)).unwrap().certificates;
        assert_eq!(args.certificates, Mode::CertManager);
        assert_eq!(args.lifetimes().unwrap().settle, SignedDuration::from_secs(90));
        assert!(Program::try_parse_from(["program", "--ca-settle=soon"]).is_err());
        let shown = serde_json::to_value(&args).unwrap();
        assert_eq!((&shown["caSettle"], &shown["certificates"]), (&"1m 30s".into(), &"cert-manager".into()));
    }
}
