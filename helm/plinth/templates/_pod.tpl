{{/* Template of a pod, for components and jobs alike. The chart's version is not in it: a new one starts only those pods
anew that it changes. */}}
{{- define "plinth.pod" -}}
metadata:
  labels: {{- include "plinth.selector" . | nindent 4 }}
    app.kubernetes.io/part-of: plinth
    {{- if .job }}
    app.kubernetes.io/component: job
    {{- end }}
    {{- with .it.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with include "plinth.podAnnotations" . | trim }}
  annotations: {{- . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ ternary "jobs" .name (default false .job) }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ int .it.graceSeconds }}
  {{- with .Values.images.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    {{- with .it.user }}
    runAsUser: {{ int . }}
    runAsGroup: {{ int . }}
    fsGroup: {{ int . }}
    {{- end }}
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  {{- with .it.priorityClass }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .it.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .it.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .job }}
  restartPolicy: Never
  {{- else }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "plinth.selector" $ | nindent 10 }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ .name }}
      image: {{ include "plinth.image" . | quote }}
      imagePullPolicy: {{ .Values.images.pullPolicy }}
      {{- with .it.command }}
      command: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .it.args }}
      args: {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      {{- with include "plinth.env" . | trim }}
      env: {{- . | nindent 8 }}
      {{- end }}
      {{- if not .job }}
      ports:
        {{- range $port, $number := .it.ports }}
        - {name: {{ $port }}, containerPort: {{ int $number }}}
        {{- end }}
      {{- include "plinth.probes" . | nindent 6 }}
      {{- if .it.preStopSeconds }}
      lifecycle:
        preStop: {sleep: {seconds: {{ int .it.preStopSeconds }}}}
      {{- end }}
      {{- end }}
      resources:
        {{- range $kind, $amounts := .it.resources }}
        {{ $kind }}:
          {{- range $what, $amount := $amounts }}{{ if $amount }}
          {{ $what }}: {{ include "plinth.text" $amount | quote }}
          {{- end }}{{ end }}
        {{- end }}
      volumeMounts:
        {{- range $path, $source := .it.mounts }}
        - name: {{ include "plinth.volume" $path }}
          mountPath: {{ $path }}
          {{- if or $source.files $source.data $source.configMap $source.secret }}
          readOnly: true
          {{- end }}
        {{- end }}
  volumes: {{- include "plinth.volumes" . | trim | nindent 4 }}
{{- end -}}

{{/* A changed file starts pods anew. */}}
{{- define "plinth.podAnnotations" -}}
{{- $files := include "plinth.fileMaps" . -}}
{{- if trim $files }}
plinth/files: {{ sha256sum $files }}
{{- end }}
{{- with .it.annotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Settings of every image of ours, then what the needs provide, then its own, which may name the others as $(NAME). */}}
{{- define "plinth.env" -}}
{{- $env := dict -}}
{{- if include "plinth.isOurs" . -}}
{{- $env = mergeOverwrite $env (deepCopy .Values.settings) -}}
{{- with dig "ports" "http" "" .it }}{{ $_ := set $env "PLINTH_PORT" (int . | toString) }}{{ end -}}
{{- end -}}
{{- range .it.needs -}}
{{- $needed := get $.Values.components . | default dict -}}
{{- if not (and $needed (or $needed.external (ne $needed.enabled false))) -}}
{{- fail (printf "%s needs %s, which is neither here nor external" $.name .) -}}
{{- end -}}
{{- $own := regexMatch (printf "(^|[/@,])%s[:/]" .) (values $needed.provides | join ",") -}}
{{- if and $needed.external (or $own (not $needed.provides)) -}}
{{- fail (printf "%s is external, and %s needs it: say in its `provides` where it is" . $.name) -}}
{{- end -}}
{{- if and (not $.database) (contains ".database" (values $needed.provides | join " ")) -}}
{{- fail (printf "%s needs %s: say in `database` which one" $.name .) -}}
{{- end -}}
{{- range $name, $_ := $needed.provides -}}
{{- if hasKey $env $name }}{{ fail (printf "%s is told %s twice, by %s too" $.name $name $needed.image) }}{{ end -}}
{{- end -}}
{{- $env = mergeOverwrite $env (deepCopy (default dict $needed.provides)) -}}
{{- end -}}
{{- range $name, $value := $env }}{{ if not (hasKey (default dict $.it.env) $name) }}
{{ include "plinth.variable" (dict "name" $name "value" $value "context" $) }}
{{- end }}{{ end -}}
{{- range $name, $value := .it.env }}
{{ include "plinth.variable" (dict "name" $name "value" $value "context" $) }}
{{- end }}
{{- end -}}

{{- define "plinth.variable" -}}
- name: {{ .name }}
{{- if kindIs "map" .value }}
  valueFrom:
    secretKeyRef:
      name: {{ include "plinth.secret" (dict "Values" .context.Values "secret" .value.secret) }}
      key: {{ .value.key }}
{{- else }}
  value: {{ tpl (include "plinth.text" .value) .context | quote }}
{{- end }}
{{- end -}}

{{/* A probe is a path of HTTP, the word tcp, or a command. */}}
{{- define "plinth.probe" -}}
{{- if kindIs "slice" .probe -}}
exec: {command: {{ toJson .probe }}}
{{- else if eq .probe "tcp" -}}
tcpSocket: {port: {{ keys .ports | sortAlpha | first }}}
{{- else -}}
httpGet: {path: {{ .probe }}, port: http}
{{- end -}}
{{- end -}}

{{- define "plinth.probes" -}}
startupProbe:
  {{ include "plinth.probe" (dict "probe" .it.probes.live "ports" .it.ports) }}
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: {{ int .it.probes.startSeconds }}
livenessProbe:
  {{ include "plinth.probe" (dict "probe" .it.probes.live "ports" .it.ports) }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  {{ include "plinth.probe" (dict "probe" .it.probes.ready "ports" .it.ports) }}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}

{{- define "plinth.volumes" -}}
{{- include "plinth.sources" . }}
{{- range $path, $source := .it.mounts }}
{{- $volume := include "plinth.volume" $path }}
{{- if $source.empty }}
- name: {{ $volume }}
  emptyDir: {sizeLimit: {{ $source.empty }}}
{{- else if $source.memory }}
- name: {{ $volume }}
  emptyDir: {medium: Memory, sizeLimit: {{ $source.memory }}}
{{- else if and (or $source.files $source.data) (not $.job) }}
- name: {{ $volume }}
  configMap: {name: {{ $.name }}-{{ $volume }}}
{{- else if $source.configMap }}
- name: {{ $volume }}
  configMap: {name: {{ $source.configMap }}}
{{- else if $source.secret }}
- name: {{ $volume }}
  secret:
    secretName: {{ include "plinth.secret" (dict "Values" $.Values "secret" $source.secret) }}
    defaultMode: 0440
    {{- with $source.keys }}
    items:
      {{- range . }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
    {{- end }}
{{- else if not (and $source.claim (eq $.it.kind "StatefulSet") (not $.job)) }}
{{- fail (printf "%s: %s has no source that a %s can have" $.name $path (ternary "job" $.it.kind (default false $.job))) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The ConfigMaps of the mounts with `files` (a glob in this chart; *.tpl is rendered) or `data`. */}}
{{- define "plinth.fileMaps" -}}
{{- range $path, $source := .it.mounts }}
{{- if or $source.files $source.data }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ $.name }}-{{ include "plinth.volume" $path }}
  labels: {{- include "plinth.selector" $ | nindent 4 }}
data:
  {{- $data := dict }}
  {{- if $source.files }}
  {{- range $file, $_ := $.Files.Glob $source.files }}
  {{- $text := $.Files.Get $file }}
  {{- if hasSuffix ".tpl" $file }}{{ $text = tpl $text $ }}{{ end }}
  {{- $_ := set $data (base $file | trimSuffix ".tpl") $text }}
  {{- end }}
  {{- end }}
  {{- toYaml (mergeOverwrite $data (default dict $source.data)) | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}
