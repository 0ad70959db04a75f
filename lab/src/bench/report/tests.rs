// SPDX-License-Identifier: Apache-2.0
use super::*;

fn sample(values: impl IntoIterator<Item = u64>) -> Sample {
    Sample::new(values.into_iter().map(Duration::from_millis).collect())
}

#[test]
fn percentiles_are_values_of_the_sample() {
    let hundred = sample((1..=100).rev());
    assert_eq!(hundred.median(), Duration::from_millis(50));
    assert_eq!(hundred.millis(), "p50 50.0, p99 99.0, max 100.0 ms (n = 100)");
    assert_eq!(sample([3, 1, 2]).millis(), "p50 2.0, p99 3.0, max 3.0 ms (n = 3)");
    assert_eq!(sample([]).millis(), "p50 0.0, p99 0.0, max 0.0 ms (n = 0)");
}

#[test]
fn a_row_of_the_report_is_a_row_of_the_table() -> anyhow::Result<()> {
    let mut report = Report::default();
    report.row(["gap", "1 ms", "≤ 2 ms", ""])?;
    assert!(report.markdown().ends_with("|---|---|---|---|\n| gap | 1 ms | ≤ 2 ms |  |\n"));
    Ok(())
}
