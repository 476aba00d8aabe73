# A job is a component under its name, as in docker-compose.yml; its pods are found by DNS.
global:
  scrape_interval: 5s
  evaluation_interval: 15s

rule_files: [/etc/plinth/rules/*.yaml]
{{- $alertmanager := .Values.components.alertmanager }}
{{- if has "alertmanager" .it.needs }}
{{- $url := urlParse $alertmanager.provides.PLINTH_ALERTMANAGER_URL }}

alerting:
  alertmanagers:
    - scheme: {{ $url.scheme }}
      path_prefix: {{ $url.path | default "/" }}
      static_configs: [{targets: ["{{ $url.host }}"]}]
{{- end }}

scrape_configs:
{{- range $name, $values := .Values.components }}
{{- $it := include "plinth.merged" (dict "root" $ "values" $values) | fromJson }}
{{- if and $it.metrics (include "plinth.runs" $values) }}
  - job_name: {{ $name }}
    dns_sd_configs: [{names: [{{ $name }}-pods], type: A, port: {{ int $it.ports.http }}, refresh_interval: 5s}]
{{- end }}
{{- end }}
