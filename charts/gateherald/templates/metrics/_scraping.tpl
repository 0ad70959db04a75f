{{/* How a ServiceMonitor or PodMonitor scrapes. */}}
{{- define "gateherald.scraping" -}}
path: /metrics
interval: {{ .Values.metrics.interval }}
scrapeTimeout: {{ .Values.metrics.scrapeTimeout }}
{{- with .Values.metrics.relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.metrics.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Metadata of an object that an operator of Prometheus selects by metrics.labels; call with (list $ "component" "name"). */}}
{{- define "gateherald.monitoringMetadata" -}}
{{- $root := index . 0 -}}
{{- $metadata := include "gateherald.metadata" (list $root (index . 1)) | fromYaml -}}
{{- $_ := set $metadata "labels" (mergeOverwrite $metadata.labels $root.Values.metrics.labels) -}}
name: {{ index . 2 }}
namespace: {{ $root.Release.Namespace }}
{{ toYaml $metadata }}
{{- end }}
