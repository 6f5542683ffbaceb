"""HTML pages and charts about images, students and tasks."""

from tf_deepinversion.reports.charts import accuracy_curves
from tf_deepinversion.reports.charts import bars
from tf_deepinversion.reports.charts import ratio_bars
from tf_deepinversion.reports.inversion_report import measure_images
from tf_deepinversion.reports.inversion_report import report_inversion
from tf_deepinversion.reports.pruned_figures import measure_pruned
from tf_deepinversion.reports.quantized_report import report_quantized
from tf_deepinversion.reports.saved_student import save_student
from tf_deepinversion.reports.student_report import measure_student
from tf_deepinversion.reports.student_report import measure_variety
from tf_deepinversion.reports.student_report import report_student
from tf_deepinversion.reports.tasks_report import report_tasks
