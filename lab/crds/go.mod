module gateherald.io/lab/crds

go 1.26.0

// Modules of which only the CRD files are read: the kinds that the chart can have objects of.
require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
