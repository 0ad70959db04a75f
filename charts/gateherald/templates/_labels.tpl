{{- /* What names and labels every object. Objects that the programs or people look up by name have fixed ones: the owner
ConfigMap, the ClusterRoles, the registration, the definition. */}}

{{/* Beginning of the names of namespaced objects. */}}
{{- define "gateherald.fullname" -}}
{{- .Values.fullnameOverride | default "gateherald" | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* The label app.kubernetes.io/name. */}}
{{- define "gateherald.name" -}}
{{- .Values.nameOverride | default "gateherald" | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/* The labels of every object; call with (list $ "component"). */}}
{{- define "gateherald.labels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "gateherald.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: gateherald
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- $own := list "name" "instance" "component" "version" "part-of" "managed-by" }}
{{- range $key, $value := $root.Values.commonLabels }}
{{- if not (or (eq $key "helm.sh/chart") (and (hasPrefix "app.kubernetes.io/" $key) (has (trimPrefix "app.kubernetes.io/" $key) $own))) }}
{{ $key }}: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* The pod labels that select one component. */}}
{{- define "gateherald.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "gateherald.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* The fields labels and annotations; call with (list $ "component" annotations-of-its-own). */}}
{{- define "gateherald.metadata" -}}
{{- $root := index . 0 -}}
{{- $own := dict }}
{{- if gt (len .) 2 }}{{ $own = index . 2 | default dict }}{{ end -}}
labels:
  {{- include "gateherald.labels" (list $root (index . 1)) | nindent 2 }}
{{- with merge (deepCopy $own) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The label by which an extractor of webhook.labelRules recognizes a Service. Presets: as in the webhook itself. */}}
{{- define "gateherald.extractorLabel" -}}
{{- $presets := dict "envoy-gateway" "gateway.envoyproxy.io/owning-gateway-name" "contour" "gateway.networking.k8s.io/gateway-name" -}}
{{- .nameLabel | default (get $presets (.preset | default "")) -}}
{{- end }}
