{{/* The labels of every object; call with (list $ "component"). */}}
{{- define "gateherald.labels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: gateherald
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: gateherald
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end }}

{{/* The pod labels that select one component. */}}
{{- define "gateherald.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: gateherald
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- /* The label by which an extractor of webhook.labelRules recognizes a Service. Presets: as in the webhook itself. */}}
{{- define "gateherald.extractorLabel" -}}
{{- $presets := dict "envoy-gateway" "gateway.envoyproxy.io/owning-gateway-name" "contour" "gateway.networking.k8s.io/gateway-name" -}}
{{- .nameLabel | default (get $presets (.preset | default "")) -}}
{{- end }}
