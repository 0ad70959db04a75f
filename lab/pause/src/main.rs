// SPDX-License-Identifier: Apache-2.0
//! Does nothing, until it is killed: the process that holds a pod's namespaces open.

fn main() {
    loop {
        std::thread::park();
    }
}
