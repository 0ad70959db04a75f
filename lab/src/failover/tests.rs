// SPDX-License-Identifier: Apache-2.0
use super::*;

#[test]
fn records_become_medians_and_ranges() {
    let records = "SIGKILL\tfence\t3900\t1\t0\nSIGTERM\thold\t20\t1\t0\nSIGKILL\tfence\t3800\t1\t0\n\
                   SIGKILL\tfence\t4000\t1\t0\nSIGKILL\thold\t3700\t1\t0\n";
    let table = table(records).unwrap();
    let rows: Vec<_> = table.lines().skip(2).collect();
    assert_eq!(rows, ["| SIGTERM | – | 20 | 1 |", "| SIGKILL | 3900 (3800 to 4000) | 3700 | 1 |"]);
    assert!(super::table("SIGKILL fence").is_err());
}
