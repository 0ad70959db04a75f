// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package helm3 pins Helm 3, which needs other versions of its libraries than the control plane.
package helm3

import _ "helm.sh/helm/v3/cmd/helm"
