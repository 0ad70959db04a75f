// SPDX-License-Identifier: Apache-2.0
use kube::core::Status;

use super::*;

fn refused(code: u16, message: &str) -> kube::Error {
    kube::Error::Api(Status::failure(message, "reason").with_code(code).boxed())
}

#[test]
fn a_403_names_verb_and_resource() {
    let error = refused(403, "services is forbidden: User \"x\" cannot list resource \"services\"");
    let text = explain("list", "services", &error);
    assert!(text.starts_with("RBAC does not allow to list services: services is forbidden"), "{text}");
}

#[test]
fn answers_are_sorted_by_status() {
    for (code, problem) in [
        (401, Problem::Unauthorized),
        (403, Problem::Forbidden),
        (404, Problem::NotFound),
        (409, Problem::Conflict),
        (500, Problem::Refused),
    ] {
        assert_eq!(Problem::of(&refused(code, "")), problem, "{code}");
    }
}

#[test]
fn a_failed_connection_shows_its_innermost_cause() {
    let io = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "tcp connect error");
    let text = explain("watch", "nodes", &kube::Error::Service(Box::new(io)));
    assert_eq!(text, "API server unreachable, cannot watch nodes: ServiceError: tcp connect error");
}

#[tokio::test]
async fn a_missing_kubeconfig_is_named() {
    let args = KubeArgs { kubeconfig: Some("no/such/file".into()) };
    let options = ClientOptions {
        user_agent: "test",
        connect_timeout: Duration::from_secs(1),
        hedge_after: None,
        read_timeout: None,
        retry: false,
    };
    let Err(error) = client(&args, options).await else { panic!("a client without a kubeconfig") };
    assert_eq!(error.to_string(), "cannot use kubeconfig no/such/file");
}
