{{- /* What the pods of all components share. */}}

{{/* The image of "webhook" or "announcer"; call with (list $ "component"). */}}
{{- define "gateherald.image" -}}
{{- $root := index . 0 -}}
{{- $image := get $root.Values.image (index . 1) -}}
{{- $name := $image.repository -}}
{{- with $root.Values.image.registry }}{{ $name = printf "%s/%s" (trimSuffix "/" .) $name }}{{ end -}}
{{- $name }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- with $image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* The ServiceAccount of "webhook" or "announcer"; call with (list $ "component"). */}}
{{- define "gateherald.serviceAccountName" -}}
{{- $root := index . 0 -}}
{{- $account := (get $root.Values (index . 1)).serviceAccount -}}
{{- $account.name | default (printf "%s-%s" (include "gateherald.fullname" $root) (index . 1)) -}}
{{- end }}

{{/* Labels and annotations of a pod template; call with (list $ "component" annotations-of-its-own). */}}
{{- define "gateherald.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $values := get $root.Values (index . 1) -}}
{{- /* What selects the pods cannot be overridden. */}}
{{- $selector := include "gateherald.selector" (list $root (index . 1)) | fromYaml -}}
labels:
  {{- toYaml (mergeOverwrite (deepCopy $root.Values.commonLabels) $values.podLabels $selector) | nindent 2 }}
{{- with mergeOverwrite (deepCopy $root.Values.commonAnnotations) $values.podAnnotations (index . 2) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Fields of a pod's spec that values give as they are; call with (list $ "component"). */}}
{{- define "gateherald.podSpec" -}}
{{- $root := index . 0 -}}
{{- $values := get $root.Values (index . 1) -}}
serviceAccountName: {{ include "gateherald.serviceAccountName" . }}
automountServiceAccountToken: true
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
nodeSelector:
  {{- toYaml (merge (deepCopy $values.nodeSelector) (dict "kubernetes.io/os" "linux")) | nindent 2 }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Variables that tell a container where it runs. */}}
{{- define "gateherald.downwardEnv" -}}
{{- range $name, $path := dict "NODE_NAME" "spec.nodeName" "POD_NAME" "metadata.name" "POD_NAMESPACE" "metadata.namespace" }}
- name: {{ $name }}
  valueFrom:
    fieldRef:
      fieldPath: {{ $path }}
{{- end }}
{{- end }}

{{/* The security context of a container that needs no rights at all: Pod Security "restricted". */}}
{{- define "gateherald.restricted" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* The probes of a program's admin port; call with its name or number. */}}
{{- define "gateherald.probes" -}}
startupProbe:
  httpGet:
    path: /live
    port: {{ . }}
  periodSeconds: 1
  failureThreshold: 30
livenessProbe:
  httpGet:
    path: /live
    port: {{ . }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet:
    path: /ready
    port: {{ . }}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- end }}
