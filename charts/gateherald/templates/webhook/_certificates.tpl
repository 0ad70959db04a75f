{{/* The Secret with tls.crt and tls.key, in the modes certManager and provided. */}}
{{- define "gateherald.tlsSecret" -}}
{{- $certificates := .Values.webhook.certificates -}}
{{- if eq $certificates.mode "provided" -}}
{{- required "webhook.certificates.provided.secretName: name the Secret that holds tls.crt and tls.key" $certificates.provided.secretName -}}
{{- else -}}
{{- $certificates.certManager.secretName | default (printf "%s-webhook-tls" (include "gateherald.fullname" .)) -}}
{{- end -}}
{{- end }}
