{{/* The values of a component or job over the defaults, as JSON. */}}
{{- define "plinth.merged" -}}
{{- mergeOverwrite (deepCopy .root.Values.default) (deepCopy .values) | toJson -}}
{{- end -}}

{{/* "true" where a component runs in this release. */}}
{{- define "plinth.runs" -}}
{{- if and (ne .enabled false) (not .external) -}}true{{- end -}}
{{- end -}}

{{- define "plinth.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "plinth.labels" -}}
{{ include "plinth.selector" . }}
app.kubernetes.io/part-of: plinth
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "plinth.isOurs" -}}
{{- if or .it.ours (hasPrefix "plinth/" .it.image) -}}true{{- end -}}
{{- end -}}

{{/* The image with its registry; one of this chart that names no tag has that of the release. */}}
{{- define "plinth.image" -}}
{{- with .Values.images.registry }}{{ . }}/{{ end -}}
{{- .it.image -}}
{{- if and (hasPrefix "plinth/" .it.image) (not (regexMatch "[:@]" .it.image)) }}:{{ .Values.images.tag | default .Chart.AppVersion }}{{ end -}}
{{- end -}}

{{/* A value as text: Helm reads whole numbers as floats, and would write 1e+06. */}}
{{- define "plinth.text" -}}
{{- if kindIs "float64" . }}{{ if eq (floor .) . }}{{ int64 . }}{{ else }}{{ . }}{{ end }}{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{/* The Secret of a name: the user's own where there is one. */}}
{{- define "plinth.secret" -}}
{{- $own := dict "server-secrets" .Values.secrets.server "client-secrets" .Values.secrets.client -}}
{{- get $own .secret | default .secret -}}
{{- end -}}

{{/* A volume's name from where it is mounted. */}}
{{- define "plinth.volume" -}}
{{- . | trimAll "/" | replace "/" "-" | replace "." "-" | replace "_" "-" | lower -}}
{{- end -}}

{{/* Databases of everything that runs, space-separated. */}}
{{- define "plinth.databases" -}}
{{- $names := list -}}
{{- range $name, $values := .Values.components -}}
{{- if and $values.database (include "plinth.runs" $values) }}{{ $names = append $names $values.database }}{{ end -}}
{{- end -}}
{{- join " " (uniq $names | sortAlpha) -}}
{{- end -}}
