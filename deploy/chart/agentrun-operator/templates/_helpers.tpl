{{/* The name of everything that is the operator's own. */}}
{{- define "agentrun.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "agentrun.selector" -}}
app.kubernetes.io/name: agentrun-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* managed-by is Helm here; agentrun-operator is what the operator puts on its Jobs. */}}
{{- define "agentrun.labels" -}}
{{ include "agentrun.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- end -}}

{{- define "agentrun.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "agentrun.claim" -}}
{{- .Values.persistence.existingClaim | default .Values.persistence.name -}}
{{- end -}}

{{/* One setting as text. Numbers of a values file are floats, and 1000000 would become 1e+06. */}}
{{- define "agentrun.setting" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) -}}
{{ int64 . }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end -}}

{{- define "agentrun.settings" -}}
{{- range $name, $value := .Values.settings }}
AGENTRUN_{{ upper $name }}: {{ include "agentrun.setting" $value | quote }}
{{- end }}
{{- if not .Values.persistence.enabled }}
AGENTRUN_DATA_PATH: ""
{{- end }}
{{- end -}}

{{/* deploy/rights/role.yaml says why each verb is there. */}}
{{- define "agentrun.rules" -}}
- apiGroups: [paperclip.io]
  resources: [agentruns]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [paperclip.io]
  resources: [agentruns/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, delete]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
{{- end -}}

{{/* Metadata, from a list of the root, a name and a namespace. */}}
{{- define "agentrun.metadata" -}}
name: {{ index . 1 }}
namespace: {{ index . 2 }}
labels:
  {{- include "agentrun.labels" (index . 0) | nindent 2 }}
{{- end -}}

{{/* The subject of every binding. */}}
{{- define "agentrun.subjects" -}}
- kind: ServiceAccount
  name: {{ include "agentrun.name" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
