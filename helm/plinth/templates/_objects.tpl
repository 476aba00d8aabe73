{{- define "plinth.claims" -}}
{{- $claims := false -}}
{{- range .it.mounts }}{{ if .claim }}{{ $claims = true }}{{ end }}{{ end -}}
{{- if $claims -}}
volumeClaimTemplates:
  {{- range $path, $source := .it.mounts }}
  {{- with $source.claim }}
  - metadata:
      name: {{ include "plinth.volume" $path }}
      labels: {{- include "plinth.selector" $ | nindent 8 }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .class | default $.Values.persistence.class }}
      storageClassName: {{ . }}
      {{- end }}
      resources: {requests: {storage: {{ .size }}}}
  {{- end }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* Who needs a component may reach it; what it needs it may reach; nobody and nothing else. */}}
{{- define "plinth.networkPolicy" -}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .name }}
  labels: {{- include "plinth.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "plinth.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- if or .it.open .it.ingress }}
    - ports: {{ include "plinth.policyPorts" .it.ports }}
    {{- else }}
    {{- $clients := list }}
    {{- $scrapers := list }}
    {{- range $client, $values := .Values.components }}
    {{- if include "plinth.runs" $values }}
    {{- if has $.name (default list $values.needs) }}{{ $clients = append $clients $client }}{{ end }}
    {{- if and $values.scrapes $.it.metrics }}{{ $scrapers = append $scrapers $client }}{{ end }}
    {{- end }}
    {{- end }}
    - ports: {{ include "plinth.policyPorts" .it.ports }}
      from:
        - podSelector: {matchLabels: {app.kubernetes.io/instance: {{ .Release.Name | quote }}, app.kubernetes.io/component: job}}
        {{- range $clients }}
        - podSelector: {matchLabels: {app.kubernetes.io/instance: {{ $.Release.Name | quote }}, app.kubernetes.io/name: {{ . }}}}
        {{- end }}
    {{- if and .it.metrics (or $scrapers .Values.monitoring.operator) }}
    - ports: [{port: http}]
      from:
        {{- range $scrapers }}
        - podSelector: {matchLabels: {app.kubernetes.io/instance: {{ $.Release.Name | quote }}, app.kubernetes.io/name: {{ . }}}}
        {{- end }}
        {{- if .Values.monitoring.operator }}
        {{- toYaml .Values.monitoring.from | nindent 8 }}
        {{- end }}
    {{- end }}
    {{- end }}
  egress: {{- include "plinth.egress" . | nindent 4 }}
{{- end -}}

{{- define "plinth.policyPorts" -}}
{{- $ports := list -}}
{{- range $port, $_ := . }}{{ $ports = append $ports (dict "port" $port) }}{{ end -}}
{{- toJson $ports -}}
{{- end -}}

{{- define "plinth.dns" -}}
- ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - {port: {{ int . }}, protocol: UDP}
    - {port: {{ int . }}, protocol: TCP}
    {{- end }}
{{- end -}}

{{- define "plinth.egress" -}}
{{ include "plinth.dns" . }}
{{- range .it.needs }}
{{- $needed := get $.Values.components . }}
- ports:
    {{- range $port, $number := $needed.ports }}
    - port: {{ int $number }}
    {{- end }}
  {{- if not $needed.external }}
  to:
    - podSelector: {matchLabels: {app.kubernetes.io/instance: {{ $.Release.Name | quote }}, app.kubernetes.io/name: {{ . }}}}
  {{- end }}
{{- end }}
{{- if .it.scrapes }}
- to:
    - podSelector: {matchLabels: {app.kubernetes.io/instance: {{ .Release.Name | quote }}}}
{{- end }}
{{- with .it.egress }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "plinth.autoscaler" -}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .name }}
  labels: {{- include "plinth.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: {{ .it.kind }}, name: {{ .name }}}
  minReplicas: {{ int .it.autoscaling.min }}
  maxReplicas: {{ int .it.autoscaling.max }}
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: {{ int .it.autoscaling.cpu }}}}
    {{- if .Values.autoscaling.adapter }}
    {{- with .it.autoscaling.lag }}
    - type: Pods
      pods: {metric: {name: plinth_kafka_lag_messages}, target: {type: AverageValue, averageValue: "{{ int . }}"}}
    {{- end }}
    {{- with .it.autoscaling.requestsPerSecond }}
    - type: Pods
      pods: {metric: {name: plinth_http_requests_per_second}, target: {type: AverageValue, averageValue: "{{ int . }}"}}
    {{- end }}
    {{- end }}
{{- end -}}

{{/* A name that stands for every pod, ready or not: Prometheus finds them by it. */}}
{{- define "plinth.podsService" -}}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}-pods
  labels: {{- include "plinth.labels" . | nindent 4 }}
    app.kubernetes.io/component: metrics
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector: {{- include "plinth.selector" . | nindent 4 }}
  ports:
    - {name: http, port: {{ int .it.ports.http }}, targetPort: http}
{{- end -}}

{{- define "plinth.serviceMonitor" -}}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ .name }}
  labels: {{- include "plinth.labels" . | nindent 4 }}
    {{- with .Values.monitoring.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  jobLabel: app.kubernetes.io/name
  selector:
    matchLabels: {{- include "plinth.selector" . | nindent 6 }}
      app.kubernetes.io/component: metrics
  endpoints:
    - {port: http, path: /metrics, interval: 5s}
{{- end -}}

{{- define "plinth.ingress" -}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ .name }}
  labels: {{- include "plinth.labels" . | nindent 4 }}
  {{- with .it.ingress.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .it.ingress.class }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- with .it.ingress.tlsSecret }}
  tls: [{hosts: [{{ $.it.ingress.host | quote }}], secretName: {{ . }}}]
  {{- end }}
  rules:
    - host: {{ .it.ingress.host | quote }}
      http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: {{ .name }}, port: {name: http}}}}
{{- end -}}
