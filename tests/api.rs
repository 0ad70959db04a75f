// SPDX-License-Identifier: Apache-2.0
//! Tests against a real API server.

mod api_certificates;
mod api_certificates_mounted;
mod api_chart;
mod api_chart_install;
mod api_chart_rights;
mod api_cli;
mod api_crowd;
mod api_failure_table;
mod api_lab;
mod api_metrics;
mod api_operations;
mod api_policies;
mod api_reconcile;
mod api_reconcile_leader;
mod api_rules;
mod api_webhook;
mod api_webhook_faults;
mod api_webhook_hostile;
